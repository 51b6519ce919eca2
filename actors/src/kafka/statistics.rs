//! What is read from librdkafka's statistics, two JSON documents a second: whether a broker is reached, and high watermarks.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

/// Statistics come twice a second; without them for so long no one knows.
pub(crate) const MEASUREMENT_VALID: Duration = Duration::from_secs(5);
/// A connected broker that owes an answer and sent nothing for so long counts as gone (it may be frozen).
pub(super) const SILENT_MICROS: i64 = 4_000_000;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, Broker>,
    #[serde(default)]
    topics: HashMap<String, Topic>,
    #[serde(default)]
    cgrp: Group,
}

#[derive(Debug, Default, Deserialize)]
struct Group {
    #[serde(default)]
    join_state: String,
}

#[derive(Debug, Deserialize)]
struct Broker {
    #[serde(default)]
    state: String,
    /// Requests sent and not answered.
    #[serde(default)]
    waitresp_cnt: i64,
    /// Microseconds since the last byte came, -1 before the first.
    #[serde(default)]
    rxidle: i64,
}

#[derive(Debug, Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: HashMap<String, Partition>,
}

#[derive(Debug, Deserialize)]
struct Partition {
    #[serde(default = "unknown")]
    hi_offset: i64,
    #[serde(default = "unknown")]
    consumer_lag: i64,
}

fn unknown() -> i64 {
    -1
}

/// What a consumer's statistics say of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionStatistics {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Next offset to be written, where it is known.
    pub(super) high_watermark: Option<i64>,
    /// librdkafka's own lag, where it is known.
    pub(super) lag: Option<i64>,
}

impl Statistics {
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Whether a broker is connected and answers.
    pub(super) fn reachable(&self) -> bool {
        self.brokers
            .values()
            .any(|broker| broker.state == "UP" && !(broker.waitresp_cnt > 0 && broker.rxidle > SILENT_MICROS))
    }

    /// Whether the client waits for others in a rebalance: it has asked to join, or for its assignment, without an answer.
    pub(super) fn waits_for_the_group(&self) -> bool {
        matches!(self.cgrp.join_state.as_str(), "wait-join" | "wait-metadata" | "wait-sync")
    }

    pub(super) fn partitions(self) -> Vec<PartitionStatistics> {
        let known = |value: i64| (value >= 0).then_some(value);
        self.topics
            .into_iter()
            .flat_map(|(topic, found)| found.partitions.into_iter().map(move |entry| (topic.clone(), entry)))
            .filter_map(|(topic, (partition, found))| {
                let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
                let (high_watermark, lag) = (known(found.hi_offset), known(found.consumer_lag));
                Some(PartitionStatistics { topic, partition, high_watermark, lag })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_counts_as_reached_when_it_is_up_and_not_silent() {
        let reachable = |brokers: &str| {
            Statistics::parse(format!(r#"{{"brokers":{{{brokers}}}}}"#).as_bytes()).unwrap().reachable()
        };
        assert!(!reachable(""));
        assert!(!reachable(r#""a":{"state":"DOWN"}"#));
        assert!(reachable(r#""a":{"state":"DOWN"},"b":{"state":"UP","waitresp_cnt":1,"rxidle":5}"#));
        assert!(reachable(r#""b":{"state":"UP","waitresp_cnt":0,"rxidle":9000000}"#));
        assert!(!reachable(r#""b":{"state":"UP","waitresp_cnt":1,"rxidle":9000000}"#));
    }

    #[test]
    fn watermarks_are_read_and_the_internal_partition_is_left_out() {
        let json = br#"{"topics":{"t":{"partitions":{"3":{"hi_offset":7,"consumer_lag":-1},"-1":{"hi_offset":1}}}}}"#;
        let found = Statistics::parse(json).unwrap().partitions();
        let expected = PartitionStatistics { topic: "t".into(), partition: 3, high_watermark: Some(7), lag: None };
        assert_eq!(found, [expected]);
    }
}

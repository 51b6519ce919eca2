//! What is told of the consumer: its status, and its rebalances in short lines.

use super::poll::PollLoop;
use crate::journal::{Change, PartitionsPaused, PausedPartitions, Rebalanced};
use crate::kafka::TopicPartition;
use crate::status::{ConsumerStatus, PartitionStatus};
use delivery::member::hold::PauseCause;

impl PollLoop {
    /// Offset of the next record to be written, where it was measured.
    pub(super) fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        let at = TopicPartition { topic: topic.to_owned(), partition };
        self.watermarks.get(&at).and_then(|(high, _)| *high)
    }

    pub(super) fn journal_rebalance(&self, change: Change, partitions: &[TopicPartition]) {
        let owned = self.assignments.len();
        self.parts.journal.write(Rebalanced { change, partitions: &summary(partitions), owned });
    }

    pub(super) fn journal_pause(&self, paused: bool, cause: PauseCause, partitions: &[TopicPartition]) {
        let cause = cause.as_str();
        self.parts.journal.write(PartitionsPaused { paused, cause, partitions: &summary(partitions) });
    }

    pub(super) fn write_status(&mut self) {
        self.parts.care.look();
        self.parts.care.vitals().set_depth(self.batch.len(), self.intake.in_flight_in_all());
        for cause in PauseCause::ALL {
            let count = self.intake.standings().filter(|at| at.paused == Some(cause)).count();
            self.parts.journal.write(PausedPartitions { cause: cause.as_str(), count });
        }
        let partitions: Vec<PartitionStatus> = self
            .intake
            .standings()
            .map(|at| {
                let key = TopicPartition { topic: at.topic.to_owned(), partition: at.partition };
                let (high_watermark, known_lag) = self.watermarks.get(&key).copied().unwrap_or_default();
                let lag = match (high_watermark, at.position) {
                    (Some(high), Some(position)) => Some((high - position).max(0)),
                    _ => known_lag,
                };
                PartitionStatus {
                    topic: key.topic,
                    partition: key.partition,
                    epoch: at.epoch,
                    frontier: at.position,
                    committed: at.committed,
                    noted: at.noted,
                    high_watermark,
                    lag,
                    in_flight: at.in_flight,
                    leaving: self.is_leaving(at.slot),
                    paused: at.paused.map(PauseCause::as_str),
                    stalled: self.stalls.of(at.slot).cloned(),
                }
            })
            .collect();
        let status = ConsumerStatus {
            state: self.state,
            broker_reachable: self.reachable.is_some_and(|(_, reachable)| reachable),
            lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
            in_flight: self.intake.in_flight_in_all(),
            partitions,
        };
        self.parts.board.set(self.reachable.map(|(at, _)| at), status);
    }
}

/// `orders/0-3,5 payments/2`: a line stays short however many partitions there are.
fn summary(partitions: &[TopicPartition]) -> String {
    let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
    sorted.sort();
    let topics = sorted.chunk_by(|one, other| one.topic == other.topic);
    let shown = topics.map(|of_topic| {
        let runs = of_topic.chunk_by(|one, other| one.partition + 1 == other.partition);
        let runs = runs.map(|run| match run {
            [one] => one.partition.to_string(),
            [first, .., last] => format!("{}-{}", first.partition, last.partition),
            [] => String::new(),
        });
        let topic = of_topic.first().map_or("", |at| &at.topic);
        format!("{topic}/{}", runs.collect::<Vec<_>>().join(","))
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_summed_up_by_topic_and_run() {
        let partitions = [("b", 2), ("a", 1), ("a", 0), ("a", 2), ("a", 5)]
            .map(|(topic, partition)| TopicPartition { topic: topic.to_owned(), partition });
        assert_eq!((summary(&partitions).as_str(), summary(&[]).as_str()), ("a/0-2,5 b/2", ""));
    }
}

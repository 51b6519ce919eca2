//! What librdkafka tells of its own accord: rebalances, statistics, errors and log lines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::message::SourceEvent;
use super::reach::Reach;
use super::statistics::{PartitionStatistics, Statistics};
use crate::journal::{ClientError, ClientLog, Journal};
use delivery::partition::TopicPartition;

/// Turns callbacks, which run inside the poll, into events. It decides nothing.
pub(super) struct SourceContext {
    events: Sender<SourceEvent>,
    closing: AtomicBool,
    journal: Journal,
    reach: Reach,
}

impl SourceContext {
    /// A context, and what comes of it.
    pub(super) fn new(journal: &Journal) -> (Self, Receiver<SourceEvent>) {
        let (sender, events) = mpsc::channel();
        let reach = Reach::new("consumer", journal);
        (Self { events: sender, closing: AtomicBool::new(false), journal: journal.clone(), reach }, events)
    }

    /// From here on no one answers rebalances: the context does, or closing would wait for ever.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn send(&self, event: SourceEvent) {
        // The receiver lives in the same `Source` as the consumer that calls this.
        let _ = self.events.send(event);
    }
}

impl ClientContext for SourceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        write_log(&self.journal, "consumer", level, facility, text);
    }

    fn stats_raw(&self, json: &[u8]) {
        let Some(statistics) = Statistics::parse(json) else { return };
        let (reachable, waits) = (statistics.reachable(), statistics.waits_for_the_group());
        self.reach.measured(reachable);
        let watermarks = statistics
            .partitions()
            .into_iter()
            .map(|PartitionStatistics { topic, partition, high_watermark, lag }| {
                (TopicPartition { topic, partition }, high_watermark, lag)
            })
            .collect();
        self.send(SourceEvent::Measured { reachable, waits, watermarks });
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.journal.write(ClientError { client: "consumer", error: &error, reason });
    }
}

impl ConsumerContext for SourceContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Relaxed) {
            // Refused only when there is nothing to give back.
            let _ = consumer.unassign();
            return;
        }
        let partitions = list
            .elements()
            .iter()
            .map(|element| TopicPartition { topic: element.topic().to_owned(), partition: element.partition() })
            .collect();
        self.send(if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            SourceEvent::Assigned(partitions)
        } else {
            SourceEvent::Revoked { partitions, lost: consumer.assignment_lost() }
        });
    }
}

pub(super) fn write_log(journal: &Journal, client: &'static str, level: RDKafkaLogLevel, facility: &str, text: &str) {
    let severe = (level as i32) <= RDKafkaLogLevel::Warning as i32;
    journal.write(ClientLog { client, severe, text: &format!("{facility} {text}") });
}

//! What is told of the consumer to status requests, and what does its member learn of the rest of the service?

use super::thread::ConsumerThread;
use crate::journal::PausedPartitions;
use crate::status::{ActorState, ConsumerState, ConsumerStatus, PartitionStatus, StallStatus};
use delivery::member::effect::End;
use delivery::member::hold::PauseCause;
use delivery::member::stall::{HandlerView, Stall, StallContext};
use delivery::member::status::{MemberState, PartitionView};
use delivery::partition::TopicPartition;

impl ConsumerThread {
    /// What the member cannot see by itself.
    pub(super) fn stall_context(&self) -> StallContext {
        let turns = !self.parts.heartbeats.stuck().iter().any(|(arbiter, _)| arbiter == self.parts.arbiter);
        let handlers = self.parts.routes.iter().map(|(topic, _, counters)| HandlerView {
            topic: topic.clone(),
            turns,
            slow: counters.slow_calls(),
        });
        StallContext {
            reachable: self.reachable.is_some_and(|(_, reachable)| reachable),
            stopped: self.parts.needed.iter().any(|actor| actor.state() == ActorState::StoppedByOperator),
            handlers: handlers.collect(),
        }
    }

    /// The handler of a topic.
    pub(super) fn handler_of(&self, topic: &str) -> &'static str {
        self.parts.routes.iter().find(|(known, ..)| known == topic).map_or("", |(_, handler, _)| handler)
    }

    pub(super) fn write_status(&mut self, end: Option<&End>) {
        self.parts.reporter.vitals().set_depth(self.batch.len(), self.member.in_flight());
        for cause in PauseCause::ALL {
            let count = self.member.partition_views().filter(|at| at.paused == Some(cause)).count();
            self.parts.journal.write(PausedPartitions { cause: cause.as_str(), count });
        }
        let partitions: Vec<PartitionStatus> = self.member.partition_views().map(|at| self.partition(&at)).collect();
        let state = match (end, self.member.state()) {
            (Some(End::GivenUp | End::Fenced(_)), _) => ConsumerState::Failed,
            (_, MemberState::Joining) => ConsumerState::Joining,
            (_, MemberState::Assigned) => ConsumerState::Assigned,
            (_, MemberState::Draining) => ConsumerState::Draining,
            (_, MemberState::Stopped) => ConsumerState::Stopped,
        };
        let status = ConsumerStatus {
            state,
            broker_reachable: self.reachable.is_some_and(|(_, reachable)| reachable),
            lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
            in_flight: self.member.in_flight(),
            partitions,
        };
        self.parts.board.set(self.reachable.map(|(at, _)| at), status);
    }

    fn partition(&self, at: &PartitionView<'_>) -> PartitionStatus {
        let stalled = at.stall.map(|Stall { offset, key, why, still }| StallStatus {
            offset: *offset,
            key: key.clone(),
            handler: self.handler_of(at.topic),
            why,
            seconds: still.as_secs(),
        });
        PartitionStatus {
            topic: at.topic.to_owned(),
            partition: at.partition,
            epoch: at.epoch,
            frontier: at.frontier,
            committed: at.committed,
            noted: at.noted,
            high_watermark: at.measured.high_watermark,
            lag: at.lag(),
            in_flight: at.in_flight,
            leaving: at.leaving,
            paused: at.paused.map(PauseCause::as_str),
            stalled,
        }
    }
}

/// `user.events/0-3,5 other.events/2`: a line stays short however many partitions there are.
pub(super) fn summary(partitions: &[TopicPartition]) -> String {
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

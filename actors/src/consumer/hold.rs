//! Partitions that are paused: because they have too much on their way, or because somebody says so.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Command;
use super::poll::{PollLoop, Then};
use crate::journal::{Journal, TopicPaused};
use crate::kafka::{SourceError, TopicPartition};
use crate::status::ActorState;
use delivery::member::hold::PauseCause;
use delivery::member::intake::Intake;
use delivery::worker::Appetite;

/// Pauses a topic, or ends its pause, for what this member has of it or gets; tells how many partitions it has.
pub(super) fn pause_topic(
    intake: &mut Intake,
    journal: &Journal,
    topic: &str,
    paused: bool,
    done: oneshot::Sender<usize>,
) {
    intake.pause_topic(topic, PauseCause::Operator, paused);
    let partitions = intake.standings().filter(|at| at.topic == topic).count();
    journal.write(TopicPaused { topic, paused, partitions });
    // Whoever told it may not have waited.
    let _ = done.send(partitions);
}

impl PollLoop {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Drain { deadline, done } => self.begin_drain(deadline, Then::End(done)),
            Command::PauseTopic { topic, paused, done } => {
                pause_topic(&mut self.intake, &self.parts.journal, &topic, paused, done);
            }
        }
    }

    /// Has the source do what the intake decides. To be called before each reading: a partition that comes while its
    /// topic is paused is then never read.
    pub(super) fn regulate(&mut self, now: Instant) -> Result<(), SourceError> {
        for (topic, _, counters) in &self.parts.routes {
            let state = counters.vitals().state();
            let paused = match counters.appetite() {
                Appetite::Everything => matches!(state, ActorState::Escalated | ActorState::Failed),
                Appetite::Nothing => true,
                Appetite::OneMore(_) => false,
            };
            self.intake.pause_topic(topic, PauseCause::Supervisor, paused);
        }
        let taps = self.intake.regulate(now);
        if taps.is_empty() {
            return Ok(());
        }
        for (paused, cause) in [true, false].into_iter().flat_map(|paused| PauseCause::ALL.map(|cause| (paused, cause)))
        {
            let taps = taps.iter().filter(|tap| (tap.paused, tap.cause) == (paused, cause));
            let partitions: Vec<TopicPartition> = taps.map(|tap| self.at(tap.slot)).collect();
            if partitions.is_empty() {
                continue;
            }
            if paused {
                self.source.pause(&partitions)?;
                for at in &partitions {
                    // What was set aside would be in the way of others. It comes again when the partition is resumed.
                    if self.source.forget(at)
                        && let Some(slot) = self.intake.slot_of(&at.topic, at.partition)
                    {
                        self.tell_position(slot)?;
                    }
                }
            } else {
                self.source.resume(&partitions)?;
            }
            self.journal_pause(paused, cause, &partitions);
        }
        self.write_status();
        Ok(())
    }

    fn at(&self, slot: u32) -> TopicPartition {
        let (topic, partition) = self.intake.partition(slot);
        TopicPartition { topic: topic.to_owned(), partition }
    }

    /// Where a log went back, librdkafka may still hold the higher position of before, from which it would go on after a
    /// pause: it is told where its reader stands.
    pub(super) fn tell_position(&mut self, slot: u32) -> Result<(), SourceError> {
        let Some(offset) = self.intake.polled_to(slot) else { return Ok(()) };
        let (topic, partition) = self.intake.partition(slot);
        self.source.seek(topic, partition, offset)
    }
}

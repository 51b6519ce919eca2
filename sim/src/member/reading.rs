//! How a member reads: as much as its intake has room for, and nothing of what is paused.

use delivery::member::hold::PauseCause;
use delivery::member::intake::Tracking;
use delivery::worker::Appetite;

use super::{Item, Member, Owned, Step, TOPIC};
use crate::Sabotage;
use crate::history::{Record, Violation};

impl Member {
    /// Somebody pauses the topic, or ends its pause.
    pub(crate) fn pause_topic(&mut self, paused: bool) {
        self.topic_paused = paused;
        self.intake.pause_topic(TOPIC, PauseCause::Operator, paused);
    }

    pub(crate) fn topic_is_paused(&self) -> bool {
        self.topic_paused
    }

    /// Has the source do what the intake decides. What a handler waits for that was given up is not read.
    pub(super) fn regulate(&mut self, step: &mut Step<'_>) {
        let escalated = self.handler.appetite() == Appetite::Nothing && !self.is(Sabotage::OpenTopicRead);
        self.intake.pause_topic(TOPIC, PauseCause::Supervisor, escalated);
        for tap in self.intake.regulate(step.now) {
            if !tap.paused && self.is(Sabotage::NeverResumed) {
                continue;
            }
            step.history.report.paused += u64::from(tap.paused && tap.cause == PauseCause::Backpressure);
            if let Some(owned) = self.owned.values_mut().find(|owned| owned.slot == tap.slot) {
                owned.paused = tap.paused;
            }
        }
    }

    /// Polls some records of a partition.
    pub(super) fn poll(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let partitions: Vec<usize> = self.owned.keys().copied().collect();
        let Some(partition) = step.rng.pick(&partitions) else { return Ok(()) };
        let share_ignored = self.is(Sabotage::ShareIgnored);
        let readable = |owned: &&mut Owned| owned.assignment.is_open() && !owned.paused;
        let Some(owned) = self.owned.get_mut(&partition).filter(readable) else { return Ok(()) };
        let (room, free) = (self.intake.room_of(owned.slot), self.intake.free());
        step.history.report.held += u64::from(room == 0 && free > 0);
        let most = if share_ignored { free } else { room.min(free) }.min(1 + step.rng.below(6));
        let most = if matches!(self.handler.appetite(), Appetite::OneMore(_)) { most.min(1) } else { most };
        let log = &step.history.logs[partition];
        let records: Vec<Record> =
            log.iter().filter(|record| record.offset >= owned.position).take(most).copied().collect();
        let (slot, tenure) = (owned.slot, owned.tenure);
        for record in records {
            if self.topic_paused || self.handler.appetite() == Appetite::Nothing {
                return Err(Violation::ReadWhilePaused(partition, record.offset));
            }
            owned.position = record.offset + 1;
            match self.intake.track(slot, record.offset, 10) {
                Tracking::New => {
                    if owned.known.says_settled(record.offset) {
                        return Err(Violation::StartedAgain(partition, record.offset));
                    }
                    self.handler.arrive(Item::new(tenure, record, &owned.assignment));
                }
                Tracking::SettledBefore => step.history.skip(partition, record.offset)?,
                Tracking::WentBack | Tracking::Refused => {}
            }
            // One that had nothing on its way may take the last, and so may the odd one.
            let (on_its_way, left) = (self.intake.in_flight(slot), self.intake.free());
            if on_its_way > left.max(1) + 1 {
                return Err(Violation::NothingLeft(partition, record.offset));
            }
        }
        Ok(())
    }
}

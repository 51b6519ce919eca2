//! How the client gives records to a member.

use std::sync::Arc;

use delivery::member::ingest::{BatchSize, Ingest};
use delivery::worker::Appetite;

use super::consumer::{Consumer, name};
use super::handler::Handler;
use super::item::Item;
use super::step::{Step, TOPIC};
use crate::history::{Known, Record, Violation};

impl Consumer {
    /// The client gives some records of a partition.
    pub(super) fn read(&mut self, handler: &mut Handler, step: &mut Step<'_>) -> Result<(), Violation> {
        let Some(reading) = self.member.reading(BatchSize::default()) else { return Ok(()) };
        let partitions: Vec<usize> = self.owned.keys().copied().collect();
        let Some(partition) = step.rng.pick(&partitions).filter(|_| self.cut_until.is_none()) else { return Ok(()) };
        let most = step.rng.below(6);
        let Self { owned, member, topic_paused, .. } = self;
        let Some(owned) = owned.get_mut(&partition).filter(|owned| !owned.paused) else { return Ok(()) };
        let edition = step.history.edition(partition);
        if owned.reading != edition {
            // The client finds that its position is not in the log, and begins at its first record.
            (owned.reading, owned.position) = (edition, 0);
        }
        let Some(slot) = member.slot_of(TOPIC, name(partition)) else { return Ok(()) };
        step.history.report.held += u64::from(member.room_of(slot) == 0 && member.free() > 0);
        let log = step.history.logs[partition].iter().filter(|record| record.offset >= owned.position);
        let records: Vec<Record> = log.take(reading.max).take(most).copied().collect();
        let mut taken = BatchSize::default();
        for record in records {
            match member.ingest(slot, record.offset, 10) {
                Ingest::NoRoom | Ingest::Refused => break,
                Ingest::Take(assignment) => {
                    if owned.edition != record.edition {
                        // What was known of the log before is not known of this one.
                        (owned.edition, owned.known) = (record.edition, Known::default());
                    }
                    if *topic_paused || handler.appetite() == Appetite::Nothing {
                        return Err(Violation::ReadWhilePaused(partition, record.offset));
                    }
                    if owned.known.says_settled(record.offset) {
                        return Err(Violation::StartedAgain(partition, record.offset));
                    }
                    let another = owned.assignment.as_ref().is_none_or(|before| !Arc::ptr_eq(before, assignment));
                    if another {
                        (owned.settled, owned.told) = (Vec::new(), Vec::new());
                        owned.assignment = Some(Arc::clone(assignment));
                    }
                    handler.arrive(Item::new(owned.tenure, record, assignment));
                    taken.records += 1;
                    taken.bytes += 10;
                }
                Ingest::SettledBefore => step.history.skip(partition, record.offset)?,
            }
            owned.position = record.offset + 1;
            let in_flight = member.partition_views().find(|at| at.slot == slot).map_or(0, |at| at.in_flight);
            step.history.shares((partition, record.offset), in_flight, member.free())?;
        }
        member.was_read(taken);
        Ok(())
    }
}

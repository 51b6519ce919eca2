//! When is a note written, what does it say, and when does one count?
//!
//! While a classic group rebalances its coordinator takes no commit of a member that waits with it; all that is settled
//! meanwhile would be repeated if that member died. That a record is settled is a fact, whichever member tells it and when: no
//! membership is needed to tell it. So it is noted in a group of its own that never has a member, while the group's own
//! commits are refused or late.

use std::time::{Duration, Instant};

use super::codec::{DecodeError, decode, encode};
use super::commits::{Taken, uncommitted};
use super::name::{progress_of, read};
use super::pace::Pace;
use crate::member::assigned::Assigned;
use crate::member::partitions::Partitions;
use crate::partition::PartitionOffset;
use crate::sabotage::{Sabotage, is};

/// Between notes. One costs the broker some milliseconds, and the next is not begun before it is answered.
const NOTE_INTERVAL: Duration = Duration::from_millis(20);

/// The notes of a member.
#[derive(Debug)]
pub(crate) struct Notes {
    pace: Pace,
    last: u64,
    max_metadata_bytes: usize,
    /// Whether there is anywhere to write them.
    kept: bool,
}

impl Notes {
    pub(crate) fn new(now: Instant, max_metadata_bytes: usize, kept: bool) -> Self {
        Self { pace: Pace::new(now, NOTE_INTERVAL), last: 0, max_metadata_bytes, kept }
    }

    /// What is noted now: partitions of which neither the group's commits nor the notes say all, one note at a time each.
    /// Without a commit of the group there is nothing to go on from, and no note.
    pub(crate) fn next(&mut self, partitions: &mut Partitions, now: Instant) -> Option<(u64, Vec<PartitionOffset>)> {
        (self.kept && self.pace.is_due(now)).then(|| self.begin(partitions, now)).flatten()
    }

    fn begin(&mut self, partitions: &mut Partitions, now: Instant) -> Option<(u64, Vec<PartitionOffset>)> {
        self.last += 1;
        let number = self.last;
        let mut notes = Vec::new();
        for assigned in partitions.assigned_mut() {
            let Some(mut offset) = unsaid(assigned).filter(|_| !assigned.notes.awaits(None)) else { continue };
            let progress = encode(offset, assigned.frontier.settled_above().into_iter(), self.max_metadata_bytes);
            let Some(metadata) = assigned.names.note(&progress) else { continue };
            if is(Sabotage::NoteSaysWhatWasPolled) {
                offset = assigned.frontier.end().unwrap_or(offset);
            }
            assigned.notes.sent(number, offset, assigned.frontier.changes());
            if is(Sabotage::NoteCountedWhenSent) {
                assigned.notes.answered(number, true);
            }
            notes.push(assigned.offset(offset, metadata));
        }
        if notes.is_empty() {
            return None;
        }
        self.pace.sent(number, now);
        Some((number, notes))
    }

    /// The client could not send it.
    pub(crate) fn not_sent(&mut self, number: u64, partitions: &mut Partitions) {
        self.pace.not_sent(number);
        for assigned in partitions.assigned_mut() {
            assigned.notes.answered(number, false);
        }
    }

    /// The broker answered: it took all of the note, or not.
    pub(crate) fn answered(&mut self, number: u64, all: bool, now: Instant) {
        self.pace.answered(number, all, now);
    }

    /// Whether the last note was refused or is not answered in time.
    pub(crate) fn are_troubled(&self, now: Instant) -> bool {
        self.pace.is_troubled(now)
    }

    /// Those whose answer has not come.
    pub(crate) fn unanswered(&self) -> usize {
        self.pace.unanswered()
    }

    /// The client is another one.
    pub(crate) fn forget(&mut self) {
        self.pace.forget();
    }
}

/// The broker answered for a partition of a note.
pub(crate) fn answered(assigned: &mut Assigned, number: u64, taken: Taken) {
    assigned.notes.answered(number, taken == Taken::Yes);
}

/// The offset to note of a partition, where something is settled that neither a commit nor a note says.
pub(crate) fn unsaid(assigned: &Assigned) -> Option<i64> {
    let said = assigned.commits.known_changes().max(assigned.notes.known_changes());
    uncommitted(assigned).filter(|_| assigned.frontier.changes() > said)
}

/// Goes on from a note in addition to the group's commit, before the first record. Gives whether the note counts: where
/// it goes on from another commit than the group's, it says nothing.
///
/// # Errors
/// When its progress cannot be read: then what it says is handled again.
pub(crate) fn recall(assigned: &mut Assigned, note: &PartitionOffset) -> Result<bool, DecodeError> {
    if is(Sabotage::NoteIgnored) {
        return Ok(false);
    }
    let mut progress = assigned.names.latest().and_then(|latest| read(&note.metadata, latest));
    if is(Sabotage::NoteOutlivesTheOffsets) {
        progress = progress_of(&note.metadata);
    }
    let Some(progress) = progress else { return Ok(false) };
    let above = decode(note.offset, progress)?;
    let wrong = is(Sabotage::NoteAtTheWrongBase) && progress.is_empty();
    let below = assigned.frontier.resumed_at()..note.offset + i64::from(wrong);
    assigned.frontier.recall(std::iter::once(below).chain(above));
    Ok(true)
}

//! Notes: while the group takes no commits, what is settled is noted beside it; and notes are read when partitions come.

use std::time::{Duration, Instant};

use super::poll::PollLoop;
use crate::journal::{NotesRead, NotesRefused, NotesTaken, ProgressUnread};
use crate::kafka::{PartitionOffset, TopicPartition};
use delivery::member::commits::Commit;
use delivery::member::intake::Resume;

/// Between notes. One costs the broker some milliseconds, and the next is not begun before it is answered.
pub(super) const NOTE_INTERVAL: Duration = Duration::from_millis(20);
/// The broker is asked so long for notes. Together with the wait for what was committed it is less than the lease.
const NOTES_WAIT: Duration = Duration::from_millis(800);

impl PollLoop {
    /// To be called at every turn: takes the answers to notes, and writes the next where the group takes no commits.
    pub(super) fn note(&mut self, now: Instant) {
        let Some(notes) = &mut self.notes else { return };
        while let Some(answers) = notes.answers() {
            let Some(number) = answers.first().map(|answer| answer.number) else { continue };
            let refused = answers.iter().find_map(|answer| answer.error.as_ref());
            match refused {
                None => self.parts.journal.write(NotesTaken { partitions: answers.len() }),
                Some(error) => self.parts.journal.write(NotesRefused { error, again: self.note_pace.is_troubled(now) }),
            }
            self.note_pace.answered(number, refused.is_none(), now);
            for answer in &answers {
                if let Some(slot) = self.intake.slot_of(&answer.partition.topic, answer.partition.partition) {
                    self.intake.note_answered(slot, number, answer.error.is_none());
                }
            }
        }
        // In doubt, another may know more of these partitions, and this would take its place.
        if !self.pace.is_troubled(now) || self.membership.is_doubtful() || !self.note_pace.is_due(now) {
            return;
        }
        let (number, begun) = self.intake.begin_notes();
        if begun.is_empty() {
            return;
        }
        let slots: Vec<u32> = begun.iter().map(|note| note.slot).collect();
        let offsets = self.offsets_of(begun);
        let Some(notes) = &mut self.notes else { return };
        match notes.write(number, &offsets) {
            Ok(()) => self.note_pace.sent(number, now),
            Err(error) => {
                self.parts.journal.write(NotesRefused { error: &error, again: true });
                for slot in slots {
                    self.intake.note_answered(slot, number, false);
                }
            }
        }
    }

    /// Whether the group takes no commits, and notes do not help: what is settled from here on may be repeated.
    pub(super) fn is_unheard(&self, now: Instant) -> bool {
        let unnoted = self.notes.is_none() || self.note_pace.is_troubled(now);
        self.intake.has_unnotable() || (unnoted && self.intake.has_unsaid())
    }

    /// Whether the group, or a note while the group takes no commits, has all that was settled of a slot.
    pub(super) fn is_said(&self, slot: u32, now: Instant) -> bool {
        !self.intake.is_uncommitted(slot) || (self.pace.is_troubled(now) && !self.intake.is_unsaid(slot))
    }

    /// Reads what earlier owners noted; to be called when what the group has committed is known.
    pub(super) fn recall(&mut self, partitions: &[TopicPartition]) {
        let Some(notes) = &self.notes else { return };
        let notes = match notes.read(partitions, NOTES_WAIT) {
            Ok(notes) => notes,
            Err(error) => {
                let partition = "all that were assigned";
                return self.parts.journal.write(ProgressUnread { partition, error: &error });
            }
        };
        let mut counted = 0;
        for PartitionOffset { topic, partition, offset, metadata } in notes {
            let Some(slot) = self.intake.slot_of(&topic, partition) else { continue };
            match self.intake.recall(slot, &Resume { offset, metadata }) {
                Ok(counts) => counted += usize::from(counts),
                Err(error) => {
                    let partition = format!("{topic}/{partition}");
                    self.parts.journal.write(ProgressUnread { partition: &partition, error: &error });
                }
            }
        }
        if counted > 0 {
            self.parts.journal.write(NotesRead { partitions: counted });
        }
    }

    pub(super) fn offsets_of(&self, commits: Vec<Commit>) -> Vec<PartitionOffset> {
        let offsets = commits.into_iter().map(|Commit { slot, offset, metadata }| {
            let (topic, partition) = self.intake.partition(slot);
            PartitionOffset { topic: topic.to_owned(), partition, offset, metadata }
        });
        offsets.collect()
    }
}

//! How a member notes what the group takes no commit of, and goes on from the notes of others.

use delivery::member::commits::Commit;
use delivery::member::intake::Resume;
use delivery::member::{note, progress_codec};

use super::commits::{CommitAnswer, CommitRequest, Part};
use super::{Member, Step};
use crate::Sabotage;
use crate::history::Violation;

impl Member {
    /// Takes the answers to notes, and writes the next where the group takes no commits.
    pub(super) fn note(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let now = self.now_of_turn;
        while let Some(CommitAnswer { number, accepted, .. }) = self.note_answers.pop_front() {
            let all = accepted.iter().all(|(_, accepted)| *accepted);
            self.note_pace.answered(number, all, now);
            for (slot, accepted) in accepted {
                self.intake.note_answered(slot, number, accepted);
            }
        }
        if !self.pace.is_troubled(now) || self.membership.is_doubtful() || !self.note_pace.is_due(now) {
            return Ok(());
        }
        let (number, notes) = self.intake.begin_notes();
        let mut parts = Vec::new();
        for Commit { slot, offset, metadata } in notes {
            let Some(owned) = self.owned.values().find(|owned| owned.slot == slot) else { continue };
            step.history.commit_says(owned.tenure, offset)?;
            let offset = if self.is(Sabotage::NoteSaysWhatWasPolled) { owned.position } else { offset };
            parts.push(Part { tenure: owned.tenure, slot, offset, metadata });
        }
        if parts.is_empty() {
            return Ok(());
        }
        self.note_pace.sent(number, now);
        if self.is(Sabotage::NoteCountedWhenSent) {
            for part in &parts {
                self.intake.note_answered(part.slot, number, true);
            }
        }
        self.outbox.notes.push(CommitRequest { number, parts });
        Ok(())
    }

    /// Whether the group takes no commits, and notes do not help.
    pub(super) fn is_unheard(&self) -> bool {
        let unnoted = self.note_pace.is_troubled(self.now_of_turn);
        self.intake.has_unnotable() || (unnoted && self.intake.has_unsaid())
    }

    /// Whether the group, or a note while the group takes no commits, has all that was settled of a slot.
    pub(super) fn is_said(&self, slot: u32) -> bool {
        let troubled = self.pace.is_troubled(self.now_of_turn);
        !self.intake.is_uncommitted(slot) || (troubled && !self.intake.is_unsaid(slot))
    }

    /// Goes on from the note of an earlier owner, where it counts.
    pub(super) fn recall(&mut self, slot: u32, note: Option<(i64, String)>, step: &mut Step<'_>) {
        let Some((mut offset, metadata)) = note.filter(|_| !self.is(Sabotage::NoteIgnored)) else { return };
        if self.is(Sabotage::NoteAtTheWrongBase) && note::progress_of(&metadata).is_some_and(str::is_empty) {
            offset += 1;
        }
        // What cannot be read is handled again.
        if self.intake.recall(slot, &Resume { offset, metadata }) == Ok(true) {
            step.history.report.recalled += 1;
        }
    }
}

/// What a commit and the note beside it say together: the note counts where it goes on from that commit.
pub(crate) fn together(committed: Option<&(i64, String)>, note: Option<&(i64, String)>) -> crate::history::Known {
    let (offset, metadata) = committed.cloned().unwrap_or_default();
    let mut runs = progress_codec::decode(offset, &metadata).unwrap_or_default();
    let counts = note::CommitName::of(offset, &metadata);
    if let Some((noted, text)) = note
        && let Some(progress) = counts.and_then(|commit| note::read(text, commit))
    {
        runs.push(offset..*noted);
        runs.extend(progress_codec::decode(*noted, progress).unwrap_or_default());
    }
    crate::history::Known { offset, runs }
}

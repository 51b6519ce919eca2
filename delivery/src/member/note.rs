//! A note: progress that the group takes no commit of for now, written for the next owner into a group beside it.
//!
//! While a classic group rebalances its coordinator takes no commit of a member that waits with it; all that is settled
//! meanwhile would be repeated if that member died. That a record is settled is a fact, whoever tells it and when: no
//! membership is needed to tell it. A note names the commit of the group that it goes on from, and counts only while that
//! one is the group's latest: a later commit outdates it, and so does whoever sets the group's offsets by hand. For that each
//! commit has a tag that no other has: the offset alone may be set again.

use crate::member::assigned::Noting;
use crate::member::commits::Commit;
use crate::member::intake::{Intake, Resume, to_u32};
use crate::member::progress_codec::{DecodeError, TAG, decode, encode, read_base64, write_base64};

/// A commit's metadata with a tag that no other commit has: the number of the commit, and a nonce of its member.
pub(crate) fn tagged(progress: String, nonce: u64, number: u64) -> String {
    let mut text = progress;
    text.push(TAG);
    write_base64(&mut text, &nonce.to_le_bytes());
    write_base64(&mut text, &number.to_le_bytes());
    text
}

/// Names a commit by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitName(u64);

impl CommitName {
    const BYTES: usize = size_of::<u64>();

    /// FNV-1a over the offset and the metadata. `None` where that has no tag: it is not a commit of ours, and there may be
    /// another one that says the same.
    #[must_use]
    pub fn of(offset: i64, metadata: &str) -> Option<Self> {
        metadata.contains(TAG).then(|| Self::hash(offset, metadata))
    }

    fn hash(offset: i64, metadata: &str) -> Self {
        let bytes = offset.to_le_bytes();
        let hash = bytes
            .iter()
            .chain(metadata.as_bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        Self(hash)
    }
}

const VERSION: char = 'n';
const END_OF_NAMES: char = '.';

/// A note's metadata: the names of the commits that it goes on from, then its progress as a commit has it. More than one
/// name where a commit is on its way whose fate nobody knows. ASCII.
#[must_use]
pub fn write(goes_on_from: impl IntoIterator<Item = CommitName>, progress: &str) -> String {
    let names: Vec<u8> = goes_on_from.into_iter().flat_map(|name| name.0.to_le_bytes()).collect();
    let mut text = String::with_capacity(2 + names.len() * 2 + progress.len());
    text.push(VERSION);
    write_base64(&mut text, &names);
    text.push(END_OF_NAMES);
    text.push_str(progress);
    text
}

/// The progress of a note, whatever it goes on from; `None` where it is no note of ours.
#[must_use]
pub fn progress_of(note: &str) -> Option<&str> {
    Some(parts(note)?.1)
}

/// The names and the progress.
fn parts(note: &str) -> Option<(&str, &str)> {
    note.strip_prefix(VERSION)?.split_once(END_OF_NAMES)
}

/// The progress of a note that goes on from this commit; `None` where it does not, or where it is no note of ours.
#[must_use]
pub fn read(note: &str, commit: CommitName) -> Option<&str> {
    let (names, progress) = parts(note)?;
    let names = read_base64(names)?;
    names.chunks(CommitName::BYTES).any(|name| name == commit.0.to_le_bytes()).then_some(progress)
}

impl Intake {
    /// Goes on from a note besides the group's commit; to be called after [`resume`](Self::resume) and before the first
    /// record. Returns whether the note counts: where it goes on from another commit than the group's, it says nothing.
    ///
    /// # Errors
    /// When its progress cannot be read: then what it says is handled again.
    pub fn recall(&mut self, slot: u32, note: &Resume) -> Result<bool, DecodeError> {
        let Some(assigned) = self.assigned(slot) else { return Ok(false) };
        let Some(progress) = assigned.latest.and_then(|latest| read(&note.metadata, latest)) else { return Ok(false) };
        let above = decode(note.offset, progress)?;
        let below = assigned.frontier.resumed_at()..note.offset;
        assigned.frontier.recall(std::iter::once(below).chain(above));
        Ok(true)
    }

    /// What is to be noted now, and the note's number: partitions of which neither the group's commits nor the notes say
    /// all, one note at a time each. Without a commit of the group there is nothing to go on from, and no note.
    pub fn begin_notes(&mut self) -> (u64, Vec<Commit>) {
        self.last_note += 1;
        let number = self.last_note;
        let mut notes = Vec::new();
        for (slot, assigned) in self.slots.iter_mut().enumerate() {
            let Some(assigned) = assigned.assigned.as_mut().filter(|assigned| assigned.noting.is_none()) else {
                continue;
            };
            let Some((latest, offset)) = assigned.latest.zip(assigned.unsaid()) else { continue };
            let progress = encode(offset, assigned.frontier.settled_above().into_iter(), self.max_metadata_bytes);
            let names = std::iter::once(latest).chain(assigned.maybe_latest.iter().copied());
            let metadata = write(names, &progress);
            assigned.noting = Some(Noting { number, offset, changes: assigned.frontier.changes() });
            notes.push(Commit { slot: to_u32(slot), offset, metadata });
        }
        (number, notes)
    }

    /// The broker answered for a partition of a note.
    pub fn note_answered(&mut self, slot: u32, number: u64, taken: bool) {
        let Some(assigned) = self.assigned(slot) else { return };
        let Some(noting) = assigned.noting.take_if(|noting| noting.number == number) else { return };
        if taken {
            assigned.noted_changes = noting.changes;
            assigned.noted = Some(noting.offset);
        }
    }

    /// Whether a slot has something that neither a commit nor a note says.
    #[must_use]
    pub fn is_unsaid(&self, slot: u32) -> bool {
        self.at(slot).is_some_and(|assigned| assigned.unsaid().is_some())
    }

    /// Whether any slot has.
    #[must_use]
    pub fn has_unsaid(&self) -> bool {
        self.current().any(|(_, _, assigned)| assigned.unsaid().is_some())
    }

    /// Whether any slot has something unsaid that cannot be noted, for the group has no commit of it.
    #[must_use]
    pub fn has_unnotable(&self) -> bool {
        self.current().any(|(_, _, assigned)| assigned.unsaid().is_some() && assigned.latest.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::member::intake::Tracking;
    use crate::member::progress_codec::MAX_METADATA_BYTES;

    fn intake() -> (Intake, u32, u32) {
        let mut intake = Intake::new(100, 1_000, MAX_METADATA_BYTES);
        let (slot, epoch) = intake.assign("t", 0);
        (intake, slot, epoch)
    }

    fn settle(intake: &mut Intake, (slot, epoch): (u32, u32), offsets: impl IntoIterator<Item = i64>) {
        for offset in offsets {
            intake.answer(&Answer { slot, epoch, offset, settled: true });
        }
    }

    fn commit_of(intake: &mut Intake) -> (u64, Commit) {
        let (number, mut commits) = intake.begin_commit(|_| true);
        (number, commits.remove(0))
    }

    fn resume(commit: &Commit) -> Resume {
        Resume { offset: commit.offset, metadata: commit.metadata.clone() }
    }

    /// What a member that goes on from there finds settled of the first twenty offsets.
    fn settled_before(commit: &Resume, note: Option<&Resume>) -> Vec<i64> {
        let (mut intake, slot, _) = intake();
        intake.resume(slot, commit).unwrap();
        if let Some(note) = note {
            intake.recall(slot, note).unwrap();
        }
        let from = commit.offset.max(0);
        (from..20).filter(|offset| intake.track(slot, *offset, 1) == Tracking::SettledBefore).collect()
    }

    #[test]
    fn what_the_group_takes_no_commit_of_is_noted_and_the_next_owner_leaves_it_out() {
        let (mut intake, slot, epoch) = intake();
        for offset in 0..20 {
            assert_eq!(intake.track(slot, offset, 1), Tracking::New);
        }
        settle(&mut intake, (slot, epoch), [0, 1, 3]);
        assert!(intake.begin_notes().1.is_empty() && intake.has_unnotable(), "there is no commit to go on from");
        let (number, first) = commit_of(&mut intake);
        intake.commit_answered(slot, number, true);
        assert!(intake.begin_notes().1.is_empty() && !intake.has_unsaid(), "the group's commit says it");
        settle(&mut intake, (slot, epoch), [2, 5]);
        let (_, on_its_way) = commit_of(&mut intake);
        settle(&mut intake, (slot, epoch), [4, 6, 9]);
        let (number, mut notes) = intake.begin_notes();
        let note = resume(&notes.remove(0));
        assert!(intake.begin_notes().1.is_empty() && intake.is_unsaid(slot), "one at a time");
        intake.note_answered(slot, number, true);
        assert!(!intake.has_unsaid() && intake.is_uncommitted(slot));

        // The commit that was on its way may have come or not.
        assert_eq!(settled_before(&resume(&first), Some(&note)), [2, 3, 4, 5, 6, 9]);
        assert_eq!(settled_before(&resume(&on_its_way), Some(&note)), [4, 5, 6, 9]);
        assert_eq!(settled_before(&resume(&first), None), [3]);
    }

    #[test]
    fn a_note_is_outdated_by_a_later_commit_and_by_whoever_sets_the_offsets() {
        let (mut intake, slot, epoch) = intake();
        for offset in 0..20 {
            assert_eq!(intake.track(slot, offset, 1), Tracking::New);
        }
        settle(&mut intake, (slot, epoch), [0]);
        let (number, _) = commit_of(&mut intake);
        intake.commit_answered(slot, number, true);
        settle(&mut intake, (slot, epoch), 1..10);
        let note = resume(&intake.begin_notes().1.remove(0));
        let (number, later) = commit_of(&mut intake);
        intake.commit_answered(slot, number, true);
        assert_eq!(settled_before(&resume(&later), Some(&note)), [0; 0]);
        for offset in [0, 1] {
            let by_hand = Resume { offset, metadata: String::new() };
            assert_eq!(
                settled_before(&by_hand, Some(&note)),
                [0; 0],
                "somebody wants these again, also from the same one"
            );
        }
    }

    #[test]
    fn beside_an_offset_that_was_set_by_hand_nothing_is_noted_before_the_next_commit() {
        let (mut intake, slot, epoch) = intake();
        intake.resume(slot, &Resume { offset: 0, metadata: String::new() }).unwrap();
        for offset in 0..3 {
            assert_eq!(intake.track(slot, offset, 1), Tracking::New);
        }
        settle(&mut intake, (slot, epoch), [0]);
        assert!(intake.has_unnotable() && intake.begin_notes().1.is_empty());
        let (number, _) = commit_of(&mut intake);
        intake.commit_answered(slot, number, true);
        settle(&mut intake, (slot, epoch), [1]);
        assert!(!intake.has_unnotable() && intake.begin_notes().1.len() == 1);
    }

    #[test]
    fn commits_that_were_surely_refused_take_no_name_from_one_that_may_have_been_taken() {
        let (mut intake, slot, epoch) = intake();
        intake.resume(slot, &Resume { offset: 0, metadata: "~1".to_owned() }).unwrap();
        for offset in 0..20 {
            assert_eq!(intake.track(slot, offset, 1), Tracking::New);
        }
        settle(&mut intake, (slot, epoch), [0]);
        let (number, taken) = commit_of(&mut intake);
        intake.commit_answered(slot, number, false);
        for offset in 1..10 {
            settle(&mut intake, (slot, epoch), [offset]);
            let (number, _) = commit_of(&mut intake);
            intake.commit_refused(slot, number);
        }
        let note = resume(&intake.begin_notes().1.remove(0));
        assert_eq!(settled_before(&resume(&taken), Some(&note)), (1..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_note_counts_also_beside_a_commit_whose_answer_was_lost() {
        let (mut intake, slot, epoch) = intake();
        intake.resume(slot, &Resume { offset: 0, metadata: "~1".to_owned() }).unwrap();
        for offset in 0..20 {
            assert_eq!(intake.track(slot, offset, 1), Tracking::New);
        }
        settle(&mut intake, (slot, epoch), [0]);
        let (number, taken) = commit_of(&mut intake);
        // The broker took it, and nobody heard of that.
        intake.commit_answered(slot, number, false);
        settle(&mut intake, (slot, epoch), [1, 2, 3]);
        let (number, _) = commit_of(&mut intake);
        intake.commit_answered(slot, number, false);
        let note = resume(&intake.begin_notes().1.remove(0));
        assert_eq!(settled_before(&resume(&taken), Some(&note)), [1, 2, 3]);
    }

    #[test]
    fn a_refused_note_is_written_again_from_a_newer_state() {
        let (mut intake, slot, epoch) = intake();
        intake.resume(slot, &Resume { offset: 0, metadata: "~1".to_owned() }).unwrap();
        for offset in 0..3 {
            assert_eq!(intake.track(slot, offset, 1), Tracking::New);
        }
        settle(&mut intake, (slot, epoch), [0]);
        let (refused, notes) = intake.begin_notes();
        assert_eq!(notes[0].offset, 1);
        settle(&mut intake, (slot, epoch), [1]);
        intake.note_answered(slot, refused, false);
        let (number, notes) = intake.begin_notes();
        assert_eq!(notes[0].offset, 2);
        intake.note_answered(slot, refused, true);
        assert!(intake.is_unsaid(slot), "an answer to an earlier note says nothing of this one");
        intake.note_answered(slot, number, true);
        assert!(!intake.is_unsaid(slot));
    }

    #[test]
    fn a_note_counts_for_the_commits_that_it_names_and_for_no_other() {
        let name = |offset, metadata: &str| CommitName::of(offset, metadata).unwrap();
        let [accepted, on_its_way] = [name(7, "~1"), name(9, "aXYZ~2")];
        let note = write([accepted, on_its_way], "aProgress");
        assert!(note.is_ascii());
        assert_eq!(read(&note, accepted), Some("aProgress"));
        assert_eq!(read(&note, on_its_way), Some("aProgress"));
        for other in [name(8, "~1"), name(7, "~2"), name(7, "a~1"), name(9, "~2"), name(0, "~")] {
            assert_eq!(read(&note, other), None);
        }
        assert_eq!((CommitName::of(7, ""), CommitName::of(9, "aXYZ")), (None, None), "anybody may say that");
        assert_eq!(read(&write([accepted], ""), accepted), Some(""));
        assert_eq!(progress_of(&note), Some("aProgress"));
    }

    #[test]
    fn what_is_no_note_counts_for_nothing() {
        let commit = CommitName::of(7, "~1").unwrap();
        for text in ["", "n", ".", "n.", "aAAAA", "n?.aAAAA", "nAAAA", "nAA.x"] {
            assert_eq!(read(text, commit), None, "{text}");
        }
    }
}

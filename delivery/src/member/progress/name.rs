//! How is a commit named, and what does a note say of the commits that it goes on from?
//!
//! A note names the commit of the group that it goes on from, and counts only while that one is the group's latest: a
//! later commit outdates it, and so does setting the group's offsets by hand. For that each commit has a tag that no other
//! has: the offset alone may be set again.

use super::codec::{TAG, read_base64, write_base64};

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

/// Commits of a partition that may be the group's latest.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The last one that the group is known to have: what a note goes on from.
    latest: Option<CommitName>,
    /// Those sent since then, the last one last. One may be the group's latest without our knowing: it is on its way, or
    /// its answer was lost.
    sent: Vec<CommitName>,
}

/// Names that are kept of commits whose fate is unknown. Where more answers are lost in a row, notes say less.
const MAX_SENT: usize = 3;

impl Names {
    /// The group has this commit.
    pub(crate) fn resumed(latest: Option<CommitName>) -> Self {
        Self { latest, sent: Vec::new() }
    }

    pub(crate) fn latest(&self) -> Option<CommitName> {
        self.latest
    }

    /// A commit of that name is sent.
    pub(crate) fn sent(&mut self, name: CommitName) {
        if self.sent.len() == MAX_SENT {
            self.sent.remove(0);
        }
        self.sent.push(name);
    }

    /// The one that was sent last was refused for sure.
    pub(crate) fn refused(&mut self) {
        self.sent.pop();
    }

    /// The one that was sent last was accepted.
    pub(crate) fn accepted(&mut self) {
        self.latest = self.sent.pop();
        self.sent.clear();
    }

    /// The text of a note that goes on from any of them; `None` where the group has none of them for sure.
    pub(crate) fn note(&self, progress: &str) -> Option<String> {
        Some(write(std::iter::once(self.latest?).chain(self.sent.iter().copied()), progress))
    }
}

const VERSION: char = 'n';
const END_OF_NAMES: char = '.';

/// A note's metadata: the names of the commits that it goes on from, then its progress as a commit has it. More than one
/// name where a commit is on its way whose fate is unknown. ASCII.
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! Where is the frontier of one partition? Every offset below it is settled, and it is what is committed.

use std::collections::VecDeque;
use std::ops::Range;

use crate::member::progress::codec::varint_len;
use crate::member::settled_before::SettledBefore;

/// The most that one more record adds to [`Frontier::worst_progress_bytes`]: itself, a hole before it, a long stretch.
pub const MAX_RECORD_PROGRESS_BYTES: usize = 1 + 9 + 1;
/// A stretch of so many unsettled records takes a second byte, and one of its square a third.
const LONG_STRETCH: usize = 128;

/// Tracks the records of one assignment of one partition from the poll to their settlement.
///
/// Only what is unsettled is kept, so its size is bounded by the credits, however far the records behind one that
/// waits get ahead. Everything polled and not kept is settled. Offsets that were never polled do not exist in the log
/// (compaction, transaction markers), so they need no special case.
#[derive(Debug, Default)]
pub struct Frontier {
    /// Polled and unsettled, in the order of their offsets.
    unsettled: VecDeque<Unsettled>,
    /// The first polled offset.
    begin: Option<i64>,
    /// One past the last polled offset; `None` before the first.
    end: Option<i64>,
    owned: usize,
    owned_bytes: usize,
    /// What was settled in an earlier assignment.
    before: SettledBefore,
    /// The sum of [`charge`] over the unsettled; see [`worst_progress_bytes`](Self::worst_progress_bytes).
    charged_bytes: usize,
    /// Counts what was settled: a commit that knows it knows whether there is more to say.
    changes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Unsettled {
    offset: i64,
    bytes: u32,
    /// Never started and never to be: its next owner gets it, so the frontier stays below it.
    given_up: bool,
}

/// What an unsettled offset followed by `next` can take in the progress: the stretch that ends with it, and the settled
/// run in between. Where there is no run, one may begin when the follower is settled, whose byte then pays for it.
fn charge(offset: i64, next: i64) -> usize {
    1 + varint_len(next.abs_diff(offset + 1))
}

/// What tracking a record found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// It has to be handled, and its answer is awaited.
    New,
    /// It was settled in an earlier assignment: nothing has to be done for it.
    SettledBefore,
    /// It lies before one that was polled already: the log is another one, or was cut. Its records are new.
    WentBack,
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Its answer was awaited until now; its credit comes back.
    Now,
    /// It was answered before: nothing changes.
    Before,
    /// It was never tracked here: nothing changes.
    Unknown,
}

impl Frontier {
    /// A frontier that goes on from a commit: `settled` are the runs above `base` that its metadata named.
    #[must_use]
    pub fn resume(base: i64, settled: Vec<Range<i64>>) -> Self {
        Self { before: SettledBefore::new(base, settled), ..Self::default() }
    }

    /// Adds runs that are settled too; to be called before the first record.
    pub fn recall(&mut self, settled: impl IntoIterator<Item = Range<i64>>) {
        self.before = std::mem::take(&mut self.before).with(settled);
    }

    /// Where it went on from: the offset that was committed.
    #[must_use]
    pub fn resumed_at(&self) -> i64 {
        self.before.base()
    }

    /// Tracks a polled record. One that went back is not tracked: its partition gets another assignment.
    #[must_use]
    pub fn track(&mut self, offset: i64, bytes: u32) -> Tracking {
        match self.end {
            Some(end) if offset < end => return Tracking::WentBack,
            Some(_) => {}
            None => {
                self.begin = Some(offset);
                if offset < self.before.base() {
                    // The log does not begin where it was committed: it is another log, whose offsets mean other records.
                    self.before.forget();
                }
            }
        }
        self.end = Some(offset + 1);
        if self.before.poll(offset) {
            self.changes += 1;
            return Tracking::SettledBefore;
        }
        self.owned += 1;
        self.owned_bytes += bytes as usize;
        // The last one is charged for itself alone until it has a follower.
        self.charged_bytes += self.unsettled.back().map_or(1, |last| charge(last.offset, offset));
        self.unsettled.push_back(Unsettled { offset, bytes, given_up: false });
        Tracking::New
    }

    /// Marks an offset settled; the frontier moves when it was the lowest unsettled one.
    pub fn settle(&mut self, offset: i64) -> Answered {
        // It is nearly always the lowest one, and that is less to do than what is below.
        if let Some(first) = self.unsettled.pop_front_if(|first| first.offset == offset && !first.given_up) {
            self.changes += 1;
            self.charged_bytes -= self.unsettled.front().map_or(1, |after| charge(offset, after.offset));
            return self.answered(first.bytes);
        }
        let index = match self.find(offset) {
            Ok(index) => index,
            Err(answered) => return answered,
        };
        self.changes += 1;
        let neighbour = |index: Option<usize>| Some(self.unsettled.get(index?)?.offset);
        let (before, after) = (neighbour(index.checked_sub(1)), neighbour(index.checked_add(1)));
        self.charged_bytes -= before.map_or(0, |before| charge(before, offset));
        self.charged_bytes -= after.map_or(1, |after| charge(offset, after));
        self.charged_bytes += before.map_or(0, |before| after.map_or(1, |after| charge(before, after)));
        // Shifts the shorter side.
        let bytes = self.unsettled.remove(index).map_or(0, |entry| entry.bytes);
        self.answered(bytes)
    }

    /// The record is not going to be started in this assignment; the frontier does not pass it.
    pub fn give_up(&mut self, offset: i64) -> Answered {
        match self.find(offset) {
            Ok(index) => {
                self.unsettled[index].given_up = true;
                let bytes = self.unsettled[index].bytes;
                self.answered(bytes)
            }
            Err(answered) => answered,
        }
    }

    fn answered(&mut self, bytes: u32) -> Answered {
        self.owned -= 1;
        self.owned_bytes -= bytes as usize;
        Answered::Now
    }

    /// Where an offset whose answer is awaited lies, or what an answer for it means.
    fn find(&self, offset: i64) -> Result<usize, Answered> {
        let first = self.unsettled.front().is_some_and(|first| first.offset == offset);
        let found = if first { Ok(0) } else { self.unsettled.binary_search_by_key(&offset, |entry| entry.offset) };
        match found {
            Ok(index) if !self.unsettled[index].given_up => Ok(index),
            Ok(_) => Err(Answered::Before),
            Err(_) if self.end.is_some_and(|end| offset < end) => Err(Answered::Before),
            Err(_) => Err(Answered::Unknown),
        }
    }

    /// Offset to commit: the lowest unsettled one, or where there is none the lowest that is not known to be settled;
    /// `None` before the first poll.
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        let end = self.end?;
        let first = self.unsettled.front().map(|first| first.offset);
        // What was settled before and comes next is passed before it is polled.
        first.or_else(|| self.before.next().filter(|run| run.start <= end).map(|run| run.end)).or(Some(end))
    }

    /// Changes whenever there is more to commit than before.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Runs of settled offsets above the frontier, ascending and apart: what lies between the unsettled ones, and what
    /// was settled before and is not polled yet.
    #[must_use]
    pub fn settled_above(&self) -> Vec<Range<i64>> {
        let Some(end) = self.end else { return Vec::new() };
        let after = self.unsettled.iter().map(|entry| entry.offset + 1);
        let until = self.unsettled.iter().skip(1).map(|entry| entry.offset).chain([end]);
        let mut runs: Vec<Range<i64>> = after.zip(until).map(|(start, end)| start..end).collect();
        runs.retain(|run| !run.is_empty());
        for run in self.before.runs().filter(|run| run.end > end) {
            match runs.last_mut().filter(|known| known.end >= run.start) {
                Some(known) => known.end = run.end,
                None => runs.push(run.start.max(end)..run.end),
            }
        }
        // The position has passed the run that comes next.
        let position = self.position();
        runs.retain(|run| position.is_none_or(|position| run.start > position));
        runs
    }

    /// An upper bound of what [`settled_above`](Self::settled_above) takes when it is written, now and in whatever order
    /// the unsettled come to be settled: two runs that become one take no more than they did, and a run that is new,
    /// of two bytes, needs two unsettled records that were side by side, each of which was charged one.
    #[must_use]
    pub fn worst_progress_bytes(&self) -> usize {
        let tail = self.unsettled.back().zip(self.end).map_or(0, |(last, end)| {
            let until = self.before.next().map_or(end, |run| run.start.min(end));
            varint_len(until.abs_diff(last.offset + 1))
        });
        self.charged_bytes + tail + self.unsettled.len() / LONG_STRETCH + self.before.bytes()
    }

    /// The first polled offset.
    #[must_use]
    pub fn begin(&self) -> Option<i64> {
        self.begin
    }

    /// One past the last polled offset; `None` before the first.
    #[must_use]
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// Records whose answer is awaited, and their bytes.
    #[must_use]
    pub fn owned(&self) -> (usize, usize) {
        (self.owned, self.owned_bytes)
    }
}

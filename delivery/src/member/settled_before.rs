//! What was settled of a partition before it came to this member? Runs of offsets that are left out when they are polled.

use std::collections::VecDeque;
use std::ops::Range;

use crate::member::progress::codec::varint_len;

/// Runs of settled offsets, ascending and apart, of which the passed ones go.
#[derive(Debug, Default)]
pub(crate) struct SettledBefore {
    runs: VecDeque<Range<i64>>,
    /// The offset that they were committed with.
    base: i64,
    /// What they take when they are written, and the end of the last run that left.
    bytes: usize,
    passed: i64,
}

/// What a settled run takes when it is written after `at`.
fn run_bytes(at: i64, run: &Range<i64>) -> usize {
    varint_len(run.start.abs_diff(at)) + varint_len(run.start.abs_diff(run.end))
}

impl SettledBefore {
    pub(crate) fn new(base: i64, runs: Vec<Range<i64>>) -> Self {
        let ends = std::iter::once(base).chain(runs.iter().map(|run| run.end));
        let bytes = ends.zip(&runs).map(|(after, run)| run_bytes(after, run)).sum();
        Self { runs: runs.into(), base, bytes, passed: base }
    }

    /// The same with more runs, which may overlap.
    pub(crate) fn with(self, more: impl IntoIterator<Item = Range<i64>>) -> Self {
        let mut runs: Vec<Range<i64>> = self.runs.into_iter().chain(more).filter(|run| !run.is_empty()).collect();
        runs.sort_unstable_by_key(|run| run.start);
        let mut united: Vec<Range<i64>> = Vec::with_capacity(runs.len());
        for run in runs {
            match united.last_mut().filter(|last| last.end >= run.start) {
                Some(last) => last.end = last.end.max(run.end),
                None => united.push(run),
            }
        }
        Self::new(self.base, united)
    }

    /// The offset that was committed.
    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    /// They are of another log.
    pub(crate) fn forget(&mut self) {
        self.runs.clear();
        self.bytes = 0;
    }

    /// An offset is polled, and none below it will be; whether it was settled before.
    pub(crate) fn poll(&mut self, offset: i64) -> bool {
        while let Some(run) = self.runs.pop_front_if(|run| run.end <= offset) {
            self.bytes -= run_bytes(self.passed, &run);
            self.passed = run.end;
        }
        self.runs.front().is_some_and(|run| run.contains(&offset))
    }

    /// The first run that is not passed.
    pub(crate) fn next(&self) -> Option<&Range<i64>> {
        self.runs.front()
    }

    /// Those that are not passed.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Range<i64>> {
        self.runs.iter()
    }

    /// What they take when they are written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

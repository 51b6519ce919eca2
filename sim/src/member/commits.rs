//! How a member commits, and hears what became of it.

use delivery::member::intake::Commit;
use delivery::member::progress_codec;

use super::{COMMIT_INTERVAL, Member, Step};
use crate::Sabotage;
use crate::history::{Known, Tenure, Violation};

/// Commits in a second when nothing happens in the group: at the interval, and once more for a doubt.
const QUIET_COMMITS: usize = 1_000 / COMMIT_INTERVAL.as_millis() as usize + 2;

/// A commit on its way to the broker.
#[derive(Clone, Debug)]
pub(crate) struct CommitRequest {
    pub(crate) number: u64,
    pub(crate) parts: Vec<Part>,
}

/// A partition's part of it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) tenure: Tenure,
    pub(crate) slot: u32,
    pub(crate) offset: i64,
    pub(crate) metadata: String,
}

/// The broker's answer to a commit.
#[derive(Clone, Debug)]
pub(crate) struct CommitAnswer {
    pub(crate) number: u64,
    /// By slot, whether it was accepted.
    pub(crate) accepted: Vec<(u32, bool)>,
    /// Whether the answer came. Without one, nobody knows what was taken.
    pub(crate) came: bool,
}

impl Member {
    /// Begins a commit of what is settled, of all or of some slots.
    pub(super) fn commit(&mut self, wanted: Option<&[u32]>, step: &mut Step<'_>) -> Result<(), Violation> {
        let (number, commits) = self.intake.begin_commit(|slot| wanted.is_none_or(|wanted| wanted.contains(&slot)));
        let mut parts = Vec::new();
        for Commit { slot, offset, mut metadata } in commits {
            let Some(owned) = self.owned.values().find(|owned| owned.slot == slot) else { continue };
            let tenure = owned.tenure;
            if self.is(Sabotage::ProgressCutOff) {
                let runs = progress_codec::decode(offset, &metadata).unwrap_or_default();
                metadata = progress_codec::encode(offset, runs.into_iter(), self.max_metadata_bytes);
            }
            let past = self.is(Sabotage::FrontierPastAGap);
            let offset = if past { owned.settled.iter().max().map_or(offset, |last| last + 1) } else { offset };
            let metadata = if past { String::new() } else { metadata };
            let says = Known { offset, runs: progress_codec::decode(offset, &metadata).unwrap_or_default() };
            let known = owned.known.runs.iter().flat_map(Clone::clone);
            let left_out = owned.answered.iter().copied().chain(known).find(|settled| !says.says_settled(*settled));
            if let Some(left_out) = left_out {
                return Err(Violation::LeftOut(tenure.partition, left_out));
            }
            step.history.commit_says(tenure, offset)?;
            parts.push(Part { tenure, slot, offset, metadata });
        }
        if parts.is_empty() {
            return Ok(());
        }
        step.history.commit_sent(self.number, QUIET_COMMITS, step.now)?;
        self.pace.sent(number, step.now);
        if self.is(Sabotage::CommitCountedWhenSent) {
            for part in &parts {
                self.intake.commit_answered(part.slot, number, true);
            }
        }
        self.outbox.commits.push(CommitRequest { number, parts });
        Ok(())
    }

    pub(super) fn take_commit_answers(&mut self, step: &mut Step<'_>) {
        while let Some(CommitAnswer { number, accepted, came }) = self.commit_answers.pop_front() {
            let any = accepted.iter().any(|(_, accepted)| *accepted);
            self.pace.answered(number, any, step.now);
            if !any {
                step.history.changed(self.number, step.now);
            }
            if any && let Some(turn) = self.membership.commit_accepted(number) {
                step.history.report.confirmed += 1;
                self.act(turn, step);
            }
            for (slot, accepted) in accepted {
                if !accepted && self.is(Sabotage::RefusalNotRepeated) {
                    continue;
                }
                let accepted = accepted || self.is(Sabotage::RefusalCountedAsAccepted);
                if !accepted && came {
                    self.intake.commit_refused(slot, number);
                } else {
                    self.intake.commit_answered(slot, number, accepted);
                }
            }
        }
    }
}

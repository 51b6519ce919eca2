//! How each effect of a member is carried out in the world.

use delivery::member::Failure;
use delivery::member::effect::{Effect, End, Told};
use delivery::member::hold::PauseCause;
use delivery::member::progress::codec::decode;
use delivery::partition::{PartitionOffset, TopicPartition};
use delivery::restart_budget::Verdict;

use super::consumer::{Consumer, Owned, RESTART, named, number};
use super::handler::Handler;
use super::messages::{Change, CommitRequest, Left, Released};
use super::step::Step;
use crate::history::{Edition, Known, Tenure, Violation};

/// Of a hundred commits and notes, so many cannot be sent by the client while there are faults.
const UNSENT_PERCENT: u64 = 2;
/// Of a hundred clients, so many cannot be made while the broker is in trouble.
const UNMADE_PERCENT: u64 = 90;

impl Consumer {
    pub(super) fn carry_out_with(&mut self, handler: &Handler, step: &mut Step<'_>) -> Result<(), Violation> {
        self.carry_out(step)?;
        for released in &mut self.outbox.released {
            released.working = handler.works_on(released.tenure, step.history.edition(released.tenure.partition));
        }
        Ok(())
    }

    /// Carries out what the member has its driver do.
    pub(super) fn carry_out(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        while let Some(effect) = self.member.poll_effect() {
            match effect {
                Effect::Accept { partitions, .. } => {
                    for at in &partitions {
                        self.accept(at, step);
                    }
                }
                Effect::Release { partitions, in_order } => {
                    for at in &partitions {
                        self.release(at, in_order, step);
                    }
                }
                Effect::Commit { number, offsets } => self.send_commit(number, offsets, step)?,
                Effect::Note { number, offsets } => self.send_note(number, offsets, step)?,
                Effect::Pause { cause, partitions } => {
                    step.history.report.paused += u64::from(cause == PauseCause::Backpressure);
                    for (at, _) in &partitions {
                        self.set_paused(at, true);
                    }
                }
                Effect::Resume { partitions, .. } => {
                    for at in &partitions {
                        self.set_paused(at, false);
                    }
                }
                Effect::Seek(at, offset) => {
                    if let Some(owned) = self.owned.get_mut(&number(&at)) {
                        owned.position = offset;
                    }
                }
                Effect::LeaveGroup => self.outbox.changes.push(Change::Leaves),
                Effect::CloseClient => self.close(step),
                Effect::OpenClient => self.open(step)?,
                Effect::Report(order, ended) => self.outbox.reports.push((order, ended.is_ok())),
                Effect::Tell(told) => self.told(&told, step),
                Effect::Status => {}
                Effect::End(end) => {
                    self.outbox.changes.push(Change::Gone);
                    step.history.report.members_given_up += u64::from(end == End::GivenUp);
                }
            }
        }
        Ok(())
    }

    /// Fetching begins where the group's commit is.
    fn accept(&mut self, at: &TopicPartition, step: &Step<'_>) {
        let Some((tenure, left)) = self.left.remove(&number(at)) else { return };
        let Left { committed, note, known } = left;
        let position = committed.as_ref().map_or(0, |(offset, _)| *offset);
        let offset = |of: Option<(i64, String)>| of.map(|(offset, metadata)| named(at, offset, metadata));
        let (committed, note) = (offset(committed), offset(note));
        self.member.go_on_from(committed.into_iter().collect(), note.into_iter().collect());
        let edition = step.history.edition(tenure.partition);
        let (assignment, settled, told) = (None, Vec::new(), Vec::new());
        let reading = edition;
        let owned = Owned { tenure, edition, reading, position, paused: false, assignment, known, settled, told };
        self.owned.insert(tenure.partition, owned);
    }

    fn release(&mut self, at: &TopicPartition, in_order: bool, step: &mut Step<'_>) {
        let Some(Owned { tenure, edition, mut settled, .. }) = self.owned.remove(&number(at)) else { return };
        step.history.ended(tenure);
        if edition != step.history.edition(tenure.partition) {
            // Of another log: the group has forgotten it.
            settled.clear();
        }
        self.outbox.released.push(Released { tenure, settled, in_order, working: false });
    }

    fn set_paused(&mut self, at: &TopicPartition, paused: bool) {
        if let Some(owned) = self.owned.get_mut(&number(at)) {
            owned.paused = paused;
        }
    }

    fn send_commit(
        &mut self,
        number: u64,
        offsets: Vec<PartitionOffset>,
        step: &mut Step<'_>,
    ) -> Result<(), Violation> {
        if step.faults && step.rng.percent(UNSENT_PERCENT) {
            step.history.report.unsent += 1;
            self.member.commit_not_sent(number);
            return Ok(());
        }
        let parts = self.parts(offsets, step)?;
        for (tenure, edition, at) in &parts {
            let says = Known { offset: at.offset, runs: decode(at.offset, &at.metadata).unwrap_or_default() };
            let Some(owned) = self.owned.get(&tenure.partition) else { continue };
            let known = owned.known.runs.iter().flat_map(Clone::clone).filter(|_| owned.edition == *edition);
            let left_out = owned.told.iter().copied().chain(known).find(|settled| !says.says_settled(*settled));
            if let Some(left_out) = left_out.filter(|_| step.history.edition(tenure.partition) == *edition) {
                return Err(Violation::LeftOut(tenure.partition, left_out));
            }
        }
        step.history.commit_sent(self.number, step.now)?;
        self.outbox.commits.push(CommitRequest { number, parts });
        Ok(())
    }

    fn send_note(&mut self, number: u64, offsets: Vec<PartitionOffset>, step: &mut Step<'_>) -> Result<(), Violation> {
        if step.faults && step.rng.percent(UNSENT_PERCENT) {
            self.member.note_not_sent(number);
            return Ok(());
        }
        let parts = self.parts(offsets, step)?;
        self.outbox.notes.push(CommitRequest { number, parts });
        Ok(())
    }

    fn parts(
        &self,
        offsets: Vec<PartitionOffset>,
        step: &mut Step<'_>,
    ) -> Result<Vec<(Tenure, Edition, PartitionOffset)>, Violation> {
        let mut parts = Vec::new();
        for at in offsets {
            let partition = usize::try_from(at.partition).unwrap_or(0);
            let Some(owned) = self.owned.get(&partition) else { continue };
            step.history.commit_says(owned.tenure, at.offset)?;
            parts.push((owned.tenure, owned.edition, at));
        }
        Ok(parts)
    }

    fn close(&mut self, step: &mut Step<'_>) {
        for owned in std::mem::take(&mut self.owned).into_values() {
            step.history.ended(owned.tenure);
        }
        self.left.clear();
        self.inbox.clear();
        self.commit_answers.clear();
        self.note_answers.clear();
        self.outbox.changes.push(Change::Closed);
    }

    fn open(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        if self.stopped {
            return Err(Violation::JoinedWhileStopped(self.number));
        }
        step.history.client_made(self.number, &RESTART, step.now)?;
        if step.now < self.unmade_until && step.rng.percent(UNMADE_PERCENT) {
            self.member.failed(&Failure::Client("by seed".to_owned()), step.now, step.rng.unit());
            return Ok(());
        }
        step.history.report.rejoins += 1;
        self.outbox.changes.push(Change::Joins);
        self.member.opened(step.now);
        Ok(())
    }

    fn told(&mut self, told: &Told, step: &mut Step<'_>) {
        let report = &mut step.history.report;
        match told {
            Told::Doubted(_) => report.doubts += 1,
            Told::Confirmed => report.confirmed += 1,
            Told::NotesRead(partitions) => report.recalled += *partitions as u64,
            Told::StaleAnswers(count) => report.stale_answers += count,
            Told::LogsWentBack(count) => report.went_back += count,
            Told::StoppedByOperator => self.stopped = true,
            Told::StartedByOperator => self.stopped = false,
            Told::Failed { verdict, .. } => {
                report.consumer_probes += u64::from(matches!(verdict, Some(Verdict::Probe { .. })));
                step.history.client_failed(self.number, step.now);
            }
            Told::Recovered => step.history.client_forgiven(self.number),
            _ => {}
        }
    }
}

//! The world: logs that grow, a broker that keeps commits, a coordinator that moves partitions, and faults.

use std::time::{Duration, Instant};

use crate::history::{History, Known, Record, Violation};
use crate::member::{CommitOnItsWay, Member};
use crate::rng::Rng;
use crate::{Report, Sabotage};
use actors::delivery::progress_codec;

const PARTITIONS: usize = 3;
const KEYS: usize = 8;
const RECORDS_PER_PARTITION: usize = 40;
const STEPS: usize = 1_500;
/// Nothing fails any more after the steps; by then all must be settled.
const HEALING_STEPS: usize = 40_000;
/// Of a hundred attempts, so many fail while there are faults.
const FAILING_PERCENT: u64 = 25;
/// A step takes so long.
const STEP: Duration = Duration::from_millis(10);
/// Metadata of a commit in every other world: some bytes, so that partitions are held back because of it.
const SHORT_METADATA_BYTES: usize = 24;
/// A leaving partition is taken after so many steps.
const DRAIN_STEPS: usize = 120;

/// Who has a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    Owns(usize),
    Leaves(usize, usize),
}

pub(crate) struct World {
    rng: Rng,
    sabotage: Option<Sabotage>,
    history: History,
    members: Vec<Option<Member>>,
    owners: [Owner; PARTITIONS],
    generations: [u64; PARTITIONS],
    committed: [Option<(i64, String)>; PARTITIONS],
    /// With the member that sent them.
    commits: Vec<(usize, CommitOnItsWay)>,
    max_metadata_bytes: usize,
    /// The clock is not asked again: only what lies between two moments counts.
    begin: Instant,
    step: usize,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let long = progress_codec::MAX_METADATA_BYTES;
        let max_metadata_bytes = if seed.is_multiple_of(2) { SHORT_METADATA_BYTES } else { long };
        let members = (0..2).map(|_| Some(Member::new(sabotage, max_metadata_bytes))).collect();
        Self {
            rng: Rng::new(seed),
            sabotage,
            history: History::new(PARTITIONS),
            members,
            owners: [Owner::Nobody; PARTITIONS],
            generations: [0; PARTITIONS],
            committed: std::array::from_fn(|_| None),
            commits: Vec::new(),
            max_metadata_bytes,
            begin: Instant::now(),
            step: 0,
        }
    }

    pub(crate) fn run(mut self) -> Result<Report, Violation> {
        while self.step < STEPS {
            self.turn(true)?;
        }
        self.heal();
        while self.history.unsettled().is_some() || self.members().any(|member| self.member(member).is_busy()) {
            self.turn(false)?;
            if self.step > STEPS + HEALING_STEPS {
                let (partition, offset) = self.history.unsettled().unwrap_or_default();
                return Err(Violation::Stuck(partition, offset));
            }
        }
        for member in self.members().collect::<Vec<_>>() {
            self.member(member).check_rest()?;
        }
        self.history.report.records = self.history.logs.iter().map(|log| log.len() as u64).sum();
        Ok(self.history.report)
    }

    /// From here on nothing fails: the frozen come back and learn what they lost, and nothing is paused any more.
    fn heal(&mut self) {
        for member in self.members.iter_mut().flatten() {
            member.pause_topic(false);
        }
        for member in self.members().collect::<Vec<_>>() {
            if self.member(member).frozen {
                self.thaw(member);
            }
        }
        if self.members().next().is_none() {
            self.members.push(Some(Member::new(self.sabotage, self.max_metadata_bytes)));
        }
    }

    fn turn(&mut self, faults: bool) -> Result<(), Violation> {
        self.step += 1;
        let action = self.rng.below(100);
        self.history.trace(&[self.step as u64, action as u64]);
        self.assign();
        self.release_leaving()?;
        match action {
            0..12 if self.step < STEPS => self.produce(),
            92..94 if faults => self.move_partition(),
            94 if faults => self.join(),
            95 if faults => self.crash(),
            96..98 if faults => self.freeze_or_thaw(),
            98 if faults => self.pause_or_resume(),
            80..92 | 98..100 => self.answer_commit(faults)?,
            _ => self.work(action, faults)?,
        }
        Ok(())
    }

    /// A member does one of its things.
    fn work(&mut self, action: usize, faults: bool) -> Result<(), Violation> {
        let awake: Vec<usize> = self.members().filter(|member| !self.member(*member).frozen).collect();
        let Some(at) = self.rng.pick(&awake) else { return Ok(()) };
        let Some(member) = self.members[at].as_mut() else { return Ok(()) };
        match action {
            0..30 => {
                let now = self.begin + STEP * u32::try_from(self.step).unwrap_or(u32::MAX);
                member.poll(now, &mut self.rng, &mut self.history)?;
            }
            30..48 => member.start()?,
            48..62 => {
                let failing = if faults { FAILING_PERCENT } else { 0 };
                member.finish(&mut self.rng, failing, &mut self.history)?;
            }
            62..74 => member.take_answer(&mut self.history),
            _ => {
                let sent = member.commit()?;
                self.commits.extend(sent.into_iter().map(|commit| (at, commit)));
            }
        }
        Ok(())
    }

    fn produce(&mut self) {
        let partition = self.rng.below(PARTITIONS);
        let log = &mut self.history.logs[partition];
        if log.len() < RECORDS_PER_PARTITION {
            // Compaction and transaction markers leave gaps.
            let gap = if self.rng.percent(20) { 1 + self.rng.below(3) } else { 0 };
            let last = log.last().map_or(-1, |record| record.offset);
            let offset = last + 1 + i64::try_from(gap).unwrap_or(0);
            let key = u8::try_from(self.rng.below(KEYS)).unwrap_or(0);
            log.push(Record { offset, key });
        }
    }

    /// Partitions without an owner go to somebody who is awake.
    fn assign(&mut self) {
        let awake: Vec<usize> = self.members().filter(|member| !self.member(*member).frozen).collect();
        for partition in 0..PARTITIONS {
            if self.owners[partition] != Owner::Nobody {
                continue;
            }
            let Some(to) = self.rng.pick(&awake) else { return };
            self.generations[partition] += 1;
            let (generation, committed) = (self.generations[partition], self.committed[partition].clone());
            self.history.trace(&[1, partition as u64, to as u64]);
            if let Some(member) = self.members[to].as_mut() {
                member.assign(partition, generation, committed);
            }
            self.owners[partition] = Owner::Owns(to);
        }
    }

    /// The coordinator asks an owner to give a partition away.
    fn move_partition(&mut self) {
        let partition = self.rng.below(PARTITIONS);
        if let Owner::Owns(from) = self.owners[partition]
            && let Some(member) = self.members[from].as_mut().filter(|member| !member.frozen)
        {
            member.leave(partition);
            self.owners[partition] = Owner::Leaves(from, self.step);
        }
    }

    /// Leaving partitions are released when they are drained and committed, or taken when their time is over.
    fn release_leaving(&mut self) -> Result<(), Violation> {
        for partition in 0..PARTITIONS {
            let Owner::Leaves(from, since) = self.owners[partition] else { continue };
            let known = self.known(partition);
            let Some(member) = self.members[from].as_mut().filter(|member| !member.frozen) else { continue };
            if member.is_released(partition) {
                member.release(partition, &known)?;
                self.history.report.clean_moves += 1;
            } else if self.step > since + DRAIN_STEPS {
                member.end(partition);
            } else {
                continue;
            }
            self.owners[partition] = Owner::Nobody;
        }
        Ok(())
    }

    /// An operator pauses the topic at a member, or ends that.
    fn pause_or_resume(&mut self) {
        let members: Vec<usize> = self.members().collect();
        if let Some(at) = self.rng.pick(&members)
            && let Some(member) = self.members[at].as_mut()
        {
            let paused = !member.topic_is_paused();
            member.pause_topic(paused);
            self.history.report.topic_pauses += u64::from(paused);
        }
    }

    fn join(&mut self) {
        if self.members().count() < 4 {
            self.members.push(Some(Member::new(self.sabotage, self.max_metadata_bytes)));
        }
    }

    fn crash(&mut self) {
        let members: Vec<usize> = self.members().collect();
        if members.len() > 1
            && let Some(member) = self.rng.pick(&members)
        {
            self.members[member] = None;
            self.take_from(member);
            self.history.report.crashes += 1;
        }
    }

    /// A member that does not answer: its partitions go to others, and it does not know.
    fn freeze_or_thaw(&mut self) {
        let members: Vec<usize> = self.members().collect();
        let Some(at) = self.rng.pick(&members) else { return };
        if self.member(at).frozen {
            self.thaw(at);
        } else if members.iter().any(|other| *other != at && !self.member(*other).frozen) {
            if let Some(member) = self.members[at].as_mut() {
                member.frozen = true;
            }
            self.take_from(at);
        }
    }

    /// It learns that it lost everything: nothing is committed, what was started ends as it will.
    fn thaw(&mut self, at: usize) {
        let Some(member) = self.members[at].as_mut() else { return };
        member.frozen = false;
        for partition in member.partitions() {
            member.end(partition);
        }
    }

    fn take_from(&mut self, gone: usize) {
        for owner in &mut self.owners {
            if matches!(owner, Owner::Owns(from) | Owner::Leaves(from, _) if *from == gone) {
                *owner = Owner::Nobody;
                self.history.report.taken += 1;
            }
        }
    }

    /// The broker answers one of the commits on their way, in any order.
    fn answer_commit(&mut self, faults: bool) -> Result<(), Violation> {
        if self.commits.is_empty() {
            return Ok(());
        }
        let (from, commit) = self.commits.swap_remove(self.rng.below(self.commits.len()));
        let partition = commit.partition;
        // The coordinator takes commits of the current owner alone.
        let is_owner = matches!(self.owners[partition], Owner::Owns(owner) | Owner::Leaves(owner, _) if owner == from);
        let current = is_owner && self.generations[partition] == commit.generation;
        let refused = faults && self.rng.percent(15);
        let answer_lost = faults && self.rng.percent(10);
        let accepted = current && !refused;
        if accepted {
            let runs = progress_codec::decode(commit.offset, &commit.metadata).unwrap_or_default();
            let known = Known { offset: commit.offset, runs };
            self.history.commit(partition, commit.generation, &known)?;
            self.committed[partition] = Some((commit.offset, commit.metadata.clone()));
        }
        self.history.report.failed_commits += u64::from(!accepted || answer_lost);
        if let Some(member) = self.members[from].as_mut() {
            // A lost answer is a timeout in the end: refused, as far as the member knows.
            member.commit_answered(&commit, accepted && !answer_lost);
        }
        Ok(())
    }

    fn known(&self, partition: usize) -> Known {
        let committed = self.committed[partition].as_ref();
        committed.map_or_else(Known::default, |(offset, metadata)| Known {
            offset: *offset,
            runs: progress_codec::decode(*offset, metadata).unwrap_or_default(),
        })
    }

    fn members(&self) -> impl Iterator<Item = usize> + use<'_> {
        self.members.iter().enumerate().filter(|(_, member)| member.is_some()).map(|(at, _)| at)
    }

    fn member(&self, at: usize) -> &Member {
        self.members[at].as_ref().expect("`members` names those that are there")
    }
}

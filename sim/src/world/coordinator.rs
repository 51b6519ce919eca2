//! The group's coordinator: who is a member, who owns a partition, and who is told when that changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use delivery::member::membership::LEASE;

use super::{PARTITIONS, World};
use crate::history::{Tenure, Violation};
use crate::process::{GroupEvent, Process, Released};

/// A member that is not heard of for so long is none any more.
const SESSION: Duration = Duration::from_secs(6);
/// Each member is heard of so often.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// So long after the next heartbeat a client knows what became of it.
const HEARD_WITHIN_MS: usize = 2_500;
/// Of a hundred partitions without an owner, so many have their offset set by an operator.
const SET_BY_HAND_PERCENT: u64 = 3;
/// So long a member takes to hear what the group tells it.
const TOLD_WITHIN_MS: usize = 60;

/// Who has a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    None,
    Owns(usize),
    Leaves(usize),
}

impl Owner {
    fn is(self, member: usize) -> bool {
        matches!(self, Self::Owns(owner) | Self::Leaves(owner) if owner == member)
    }
}

/// What the coordinator knows of a member.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Changes whenever it joins.
    pub(super) membership: u64,
    heard: Instant,
    /// It may be given partitions.
    joined: bool,
    /// Taken from it while it is frozen.
    taken: Vec<Tenure>,
}

impl Session {
    pub(super) fn new(now: Instant) -> Self {
        Self { membership: 0, heard: now, joined: true, taken: Vec::new() }
    }

    /// It is none any more.
    pub(super) fn end(&mut self) {
        self.joined = false;
    }

    /// Whether a commit of that membership is one of a member.
    pub(super) fn is_member(&self, membership: u64) -> bool {
        self.joined && self.membership == membership
    }
}

impl World {
    /// Members that are awake and reach the broker are heard of; those that are not for too long are thrown out.
    pub(super) fn watch_sessions(&mut self) {
        for at in 0..self.processes.len() {
            let process = self.processes[at].as_ref();
            let frozen = process.is_some_and(Process::is_frozen);
            let silent = frozen || process.is_none_or(|process| process.consumer.cut_until.is_some());
            let session = &mut self.sessions[at];
            if !session.joined {
                continue;
            }
            if self.now.saturating_duration_since(session.heard) >= SESSION {
                session.joined = false;
                let taken = self.take_from(at);
                if frozen { self.sessions[at].taken = taken } else { self.tell_lost(at) }
            } else if !silent && self.now.saturating_duration_since(session.heard) >= HEARTBEAT {
                session.heard = self.now;
            }
        }
    }

    /// It has thawed: its client asks the group what it still has.
    pub(super) fn thawed(&mut self, at: usize, frozen: Duration) {
        let taken = std::mem::take(&mut self.sessions[at].taken);
        if frozen >= LEASE {
            for tenure in taken {
                self.history.thawed_without(tenure);
            }
        }
        if self.sessions[at].joined { self.sessions[at].heard = self.now } else { self.tell_lost(at) }
    }

    fn tell_lost(&mut self, at: usize) {
        let heard = self.now + Duration::from_millis(self.rng.below(HEARD_WITHIN_MS) as u64);
        if let Some(process) = self.processes[at].as_mut() {
            process.consumer.tell(heard, GroupEvent::Lost);
        }
    }

    /// It has heard that it is none any more, and joins again.
    pub(super) fn rejoin(&mut self, at: usize) {
        let leaving = self.processes[at].as_ref().is_none_or(|process| process.consumer.is_leaving());
        let session = &mut self.sessions[at];
        session.membership += 1;
        session.heard = self.now;
        session.joined = !leaving;
    }

    /// Partitions without an owner go to a member that is awake and heard of.
    pub(super) fn assign(&mut self, faults: bool) {
        let can_take = |at: &usize| {
            let ready = |process: &Process| !process.is_frozen() && process.consumer.can_take();
            self.sessions[*at].joined && self.processes[*at].as_ref().is_some_and(ready)
        };
        let ready: Vec<usize> = self.processes().into_iter().filter(can_take).collect();
        let mut given: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            if self.owners[partition] != Owner::None {
                continue;
            }
            let Some(to) = self.rng.pick(&ready) else { return };
            if faults && self.rng.percent(SET_BY_HAND_PERCENT) {
                self.set_by_hand(partition);
            }
            self.generations[partition] += 1;
            let tenure = Tenure { partition, generation: self.generations[partition] };
            self.history.trace(&[1, partition as u64, to as u64]);
            self.history.given(tenure);
            self.owners[partition] = Owner::Owns(to);
            given.entry(to).or_default().push((tenure, self.broker.left(partition)));
        }
        for (to, partitions) in given {
            self.tell(to, GroupEvent::Assigned { partitions });
        }
    }

    fn tell(&mut self, at: usize, event: GroupEvent) {
        let heard = self.now + Duration::from_millis(self.rng.below(TOLD_WITHIN_MS) as u64);
        if let Some(process) = self.processes[at].as_mut() {
            process.consumer.tell(heard, event);
        }
    }

    /// Asks an owner to give a partition away.
    pub(super) fn move_partition(&mut self) {
        let partition = self.rng.below(PARTITIONS);
        if let Owner::Owns(from) = self.owners[partition]
            && self.processes[from].as_ref().is_some_and(|process| process.consumer.has_answered())
        {
            self.owners[partition] = Owner::Leaves(from);
            self.tell(from, GroupEvent::Revoked { partitions: vec![partition] });
        }
    }

    /// While no member has a partition an operator sets the group's offset of it: some of its records come again.
    fn set_by_hand(&mut self, partition: usize) {
        let known = self.broker.known(partition);
        let Some(back) = usize::try_from(known.offset).ok().filter(|offset| *offset > 0) else { return };
        let offset = i64::try_from(self.rng.below(back)).unwrap_or(0);
        self.broker.set(partition, Some(offset));
        self.history.set_by_hand(partition, offset);
    }

    /// A member asks to go: it is asked to give all away.
    pub(super) fn leave(&mut self, at: usize) {
        self.sessions[at].joined = self.sessions[at].joined && self.owners.iter().any(|owner| owner.is(at));
        let owned: Vec<usize> =
            (0..PARTITIONS).filter(|partition| self.owners[*partition] == Owner::Owns(at)).collect();
        for partition in &owned {
            self.owners[*partition] = Owner::Leaves(at);
        }
        if !owned.is_empty() {
            self.tell(at, GroupEvent::Revoked { partitions: owned });
        }
    }

    /// A member gave a partition away. If it did so in order, all that was settled of it must be known to the broker.
    pub(super) fn release(&mut self, at: usize, released: &Released) -> Result<(), Violation> {
        let Released { tenure, settled, in_order, working } = released;
        let partition = tenure.partition;
        if !self.is_owner(at, *tenure) {
            return Ok(());
        }
        self.owners[partition] = Owner::None;
        if !in_order {
            return Ok(());
        }
        self.history.report.clean_moves += 1;
        let known = self.broker.left(partition).known;
        let forgotten = settled.iter().find(|offset| !known.says_settled(**offset));
        if forgotten.is_some() && self.broker.has_late_note(*tenure) {
            // What a dead owner sent may come late, and the last note counts. It costs repeats.
            return Ok(());
        }
        match forgotten {
            Some(offset) => Err(Violation::LeftUncommitted(partition, *offset)),
            None if *working => Err(Violation::LeftUncommitted(partition, known.offset)),
            None => Ok(()),
        }
    }

    pub(super) fn is_owner(&self, at: usize, tenure: Tenure) -> bool {
        self.owners[tenure.partition].is(at) && self.generations[tenure.partition] == tenure.generation
    }

    /// Takes all from a member that did not give it.
    pub(super) fn take_from(&mut self, gone: usize) -> Vec<Tenure> {
        let owned: Vec<usize> = (0..PARTITIONS).filter(|partition| self.owners[*partition].is(gone)).collect();
        self.history.report.taken += owned.len() as u64;
        for partition in &owned {
            self.owners[*partition] = Owner::None;
        }
        let generation = |partition: usize| self.generations[partition];
        owned.into_iter().map(|partition| Tenure { partition, generation: generation(partition) }).collect()
    }
}

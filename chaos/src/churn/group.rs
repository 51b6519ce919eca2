//! The group under test: members as processes, and what befalls them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use chaos::monotonic;
use chaos::process::Process;
use rustix::process::Signal;

use super::ledger::{Fault, Handling};
use super::member;
use super::plan::Kind;

/// An end in order takes less.
const LEAVE_DEADLINE: Duration = Duration::from_secs(15);

pub(crate) struct Group {
    pub(crate) folder: PathBuf,
    pub(crate) variables: Vec<(String, String)>,
    /// Whether each place in the group has an instance id that its next member takes over.
    pub(crate) static_members: bool,
    members: Vec<Member>,
    /// Told to leave, and since when.
    leaving: Vec<(Member, Instant)>,
    pub(crate) faults: Vec<Fault>,
    /// By member.
    places: Vec<usize>,
}

struct Member {
    number: usize,
    place: usize,
    process: Process,
    /// The fault that freezes it.
    frozen: Option<usize>,
    /// Another has its instance id, so that it ends by itself when it is thawed.
    replaced: bool,
}

impl Group {
    pub(crate) fn new(folder: &Path, variables: Vec<(String, String)>, static_members: bool) -> Self {
        let folder = folder.to_owned();
        Self {
            folder,
            variables,
            static_members,
            members: Vec::new(),
            leaving: Vec::new(),
            faults: Vec::new(),
            places: Vec::new(),
        }
    }

    fn file(&self, member: usize, kind: &str) -> PathBuf {
        self.folder.join(format!("{member}.{kind}"))
    }

    /// Starts a member at a place of the group.
    pub(crate) fn start(&mut self, place: usize) {
        let number = self.places.len();
        self.places.push(place);
        let log = File::create(self.file(number, "log")).expect("a file in our own folder");
        let mut command = Command::new(std::env::current_exe().expect("our own program"));
        command.env_clear().current_dir(&self.folder).envs(self.variables.iter().cloned());
        command.env(member::LEDGER, self.file(number, "ledger"));
        if self.static_members {
            command.env("KAFKA_GROUP_INSTANCE_ID", format!("place-{place}"));
        }
        command.stdout(log.try_clone().expect("a file of ours")).stderr(log);
        let process = Process::start(&mut command).expect("our own program starts");
        self.members.push(Member { number, place, process, frozen: None, replaced: false });
    }

    /// Does `kind` to one of those that are awake, and starts another in its place.
    pub(crate) fn strike(&mut self, kind: Kind, victim: usize) -> String {
        let may_be_struck = |member: &Member| member.frozen.is_none() && !member.replaced;
        let awake: Vec<usize> = (0..self.members.len()).filter(|at| may_be_struck(&self.members[*at])).collect();
        let at = awake[victim % awake.len()];
        let (number, place) = (self.members[at].number, self.members[at].place);
        let fault = Fault { kind, member: number, at: monotonic(), until: monotonic() };
        self.faults.push(fault);
        let signal = match kind {
            Kind::Leave => Signal::TERM,
            Kind::Kill => Signal::KILL,
            Kind::Freeze => Signal::STOP,
        };
        self.members[at].process.signal(signal).expect("it runs");
        match kind {
            Kind::Freeze => {
                self.members[at].frozen = Some(self.faults.len() - 1);
                self.members[at].replaced = self.static_members;
            }
            Kind::Leave => self.leaving.push((self.members.remove(at), Instant::now())),
            Kind::Kill => {
                // Dropped, it is waited for: until then it may have gone on.
                drop(self.members.remove(at));
                if let Some(fault) = self.faults.last_mut() {
                    fault.until = monotonic();
                }
            }
        }
        self.start(place);
        format!("{kind} of member {number}")
    }

    /// Lets a frozen member go on.
    pub(crate) fn thaw(&mut self, fault: usize) -> Option<usize> {
        let member = self.members.iter_mut().find(|member| member.frozen == Some(fault))?;
        member.frozen = None;
        self.faults[fault].until = monotonic();
        member.process.signal(Signal::CONT).expect("it runs");
        Some(member.number)
    }

    /// Ends a member in order, without another in its place. A fenced one has ended by itself.
    pub(crate) fn stop(&mut self, number: usize) {
        let Some(at) = self.members.iter().position(|member| member.number == number) else { return };
        let member = self.members.remove(at);
        self.faults.push(Fault { kind: Kind::Leave, member: number, at: monotonic(), until: monotonic() });
        // One that was fenced has ended by itself.
        let _ = member.process.signal(Signal::TERM);
        self.leaving.push((member, Instant::now()));
    }

    /// Takes leave of those that have ended.
    pub(crate) fn reap(&mut self) {
        self.leaving.retain_mut(|(member, since)| {
            let ended = member.process.ended(Duration::ZERO).expect("a child of ours");
            assert!(ended.is_some() || since.elapsed() < LEAVE_DEADLINE, "member {} does not end", member.number);
            ended.is_none()
        });
    }

    pub(crate) fn stop_all(&mut self) {
        for number in self.members.iter().map(|member| member.number).collect::<Vec<_>>() {
            self.stop(number);
            // One after the other, so that each leaves a group that is at peace.
            while !self.leaving.is_empty() {
                self.reap();
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    pub(crate) fn handlings(&self) -> Vec<Handling> {
        (0..self.places.len()).flat_map(|member| member::read(member, &self.file(member, "ledger"))).collect()
    }

    /// By member: its instance id; empty where they have none.
    pub(crate) fn ids(&self) -> &[usize] {
        if self.static_members { &self.places } else { &[] }
    }

    /// Members that said so in their journal.
    pub(crate) fn that_said(&self, words: &str) -> Vec<usize> {
        let said =
            |member: &usize| std::fs::read_to_string(self.file(*member, "log")).is_ok_and(|log| log.contains(words));
        (0..self.places.len()).filter(said).collect()
    }
}

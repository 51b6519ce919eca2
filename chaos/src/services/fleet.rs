//! The two instances of a service: started, asked, killed, frozen and told to leave; each fault with what shows that it
//! took hold.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use chaos::process::Process;
use reqwest::blocking::{Client, Response};
use rustix::process::Signal;
use serde_json::Value;

use crate::plan::{Fault, INSTANCES};
use crate::story::Story;
use crate::trouble::{Trouble, failed, invalid, wait_for};

/// A group takes a session timeout to notice, and as long again while the broker that coordinates it is gone.
const TAKE_OVER_DEADLINE: Duration = Duration::from_secs(90);
/// Until what was started, thawed or healed has its part again.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(90);
/// Far beyond the 9.5 s after which a stop is cut off.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// Until the kernel has ended what was killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// For a request to say in which state an instance is.
const STATUS_DEADLINE: Duration = Duration::from_secs(2);
/// Partitions that each service subscribes to: two topics of as many as the product creates.
const PARTITIONS: usize = 2 * 8;
/// Commits of the second instance: so often that a commit of what is not settled does not stay hidden. The first one
/// has the default, and so repeats more.
const OFTEN_MS: &str = "50";

/// Where the instances of a service listen now.
#[derive(Default)]
pub(crate) struct Doors(RwLock<[Option<String>; INSTANCES]>);

impl Doors {
    pub(crate) fn of(&self, instance: usize) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)[instance].clone()
    }

    fn set(&self, instance: usize, address: Option<String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner)[instance] = address;
    }
}

/// What every instance needs.
#[derive(Clone)]
pub(crate) struct Setting {
    /// The binary `standalone`.
    pub(crate) program: PathBuf,
    pub(crate) brokers: String,
    /// Marks what dev/kafka has to end when it is interrupted.
    pub(crate) kafka_dir: PathBuf,
    /// Folder of the run. The instances of a service share a database in it, as they would share a server.
    pub(crate) folder: PathBuf,
}

/// The two instances of a service.
pub(crate) struct Pair<'a> {
    service: &'static str,
    setting: &'a Setting,
    story: &'a Story,
    doors: &'a Doors,
    client: Client,
    processes: [Option<Process>; INSTANCES],
    /// Starts so far: each has a log of its own.
    starts: usize,
    logs: [PathBuf; INSTANCES],
}

impl<'a> Pair<'a> {
    pub(crate) fn new(
        service: &'static str,
        setting: &'a Setting,
        story: &'a Story,
        doors: &'a Doors,
    ) -> Result<Self, Trouble> {
        let client = Client::builder().timeout(STATUS_DEADLINE).build()?;
        let (processes, logs) = Default::default();
        Ok(Self { service, setting, story, doors, client, processes, starts: 0, logs })
    }

    /// Does what is planned, sees that it takes hold, and heals it.
    pub(crate) fn suffer(&mut self, fault: Fault) -> Result<(), Trouble> {
        match fault {
            Fault::Kill(one) => {
                let began = self.kill(one)?;
                self.taken_over(other(one), "kill", began)?;
                self.start(one)?;
            }
            Fault::KillBoth => {
                // Neither may notice the other's end.
                self.send(0, Signal::KILL)?;
                self.kill(1)?;
                self.kill(0)?;
                self.start(0)?;
                self.start(1)?;
            }
            Fault::KillInRebalance(one) => {
                self.kill(one)?;
                self.start(one)?;
                self.has_some(one)?;
                self.kill(one)?;
                self.start(one)?;
            }
            Fault::Freeze(one) => {
                let began = Instant::now();
                self.send(one, Signal::STOP)?;
                self.story.say(&format!("{}: SIGSTOP", self.name(one)));
                self.taken_over(other(one), "freeze", began)?;
                self.send(one, Signal::CONT)?;
                self.story.say(&format!("{}: SIGCONT", self.name(one)));
            }
            Fault::Leave(one) => {
                let began = self.stop(one)?;
                self.taken_over(other(one), "leave", began)?;
                self.start(one)?;
            }
        }
        self.shared(fault.name())
    }

    pub(crate) fn start_both(&mut self) -> Result<(), Trouble> {
        // At once: they meet in their database and their group.
        self.spawn(0)?;
        self.spawn(1)?;
        self.listens(0)?;
        self.listens(1)?;
        self.shared("start")
    }

    pub(crate) fn stop_both(&mut self) -> Result<(), Trouble> {
        self.stop(0)?;
        self.stop(1)?;
        Ok(())
    }

    /// Records that are not settled in the partitions of both; `None` where one does not know.
    pub(crate) fn lag(&mut self) -> Result<Option<i64>, Trouble> {
        let mut lag = 0;
        for one in 0..INSTANCES {
            let Some(status) = self.status(one)? else { return Ok(None) };
            for at in status["consumer"]["partitions"].as_array().into_iter().flatten() {
                // Where nothing was read yet, the lag is not known; what is there is read soon.
                lag += at["lag"].as_i64().unwrap_or(0);
            }
        }
        Ok(Some(lag))
    }

    fn start(&mut self, one: usize) -> Result<(), Trouble> {
        self.spawn(one)?;
        self.listens(one)
    }

    fn spawn(&mut self, one: usize) -> Result<(), Trouble> {
        self.starts += 1;
        let setting = self.setting;
        let log = setting.folder.join(format!("{}-{:03}.log", self.name(one).replace('/', "-"), self.starts));
        let output = File::create(&log)?;
        let mut command = Command::new(&setting.program);
        command.arg(self.service).env_clear().current_dir(&setting.folder);
        command.env("KAFKA_BROKERS", &setting.brokers).env("KAFKA_DEV_DIR", &setting.kafka_dir);
        command.env("DATA_DIR", data_folder(&setting.folder)).env("LOG_FORMAT", "json");
        let prefix = self.service.to_uppercase().replace('-', "_");
        command.env(format!("{prefix}_PORT"), "0").env(format!("{prefix}_MANAGEMENT_PORT"), "0");
        if one == 1 {
            command.env("COMMIT_INTERVAL_MS", OFTEN_MS);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        self.processes[one] = Some(Process::start(&mut command)?);
        self.logs[one] = log;
        self.story.say(&format!("{}: start", self.name(one)));
        Ok(())
    }

    /// Waits until it listens.
    fn listens(&mut self, one: usize) -> Result<(), Trouble> {
        let address = wait_for(RECOVERY_DEADLINE, || {
            self.alive(one)?;
            Ok(address_in(&fs::read_to_string(&self.logs[one])?))
        })?;
        let Some(address) = address else { return failed(format!("{} does not listen", self.name(one))) };
        self.doors.set(one, Some(address));
        Ok(())
    }

    fn send(&mut self, one: usize, signal: Signal) -> Result<(), Trouble> {
        self.alive(one)?;
        let Some(process) = &self.processes[one] else { return invalid("a signal to an instance that does not run") };
        Ok(process.signal(signal)?)
    }

    /// SIGKILL; returns when it has ended.
    fn kill(&mut self, one: usize) -> Result<Instant, Trouble> {
        use std::os::unix::process::ExitStatusExt as _;
        let began = Instant::now();
        let name = self.name(one);
        let Some(mut process) = self.processes[one].take() else {
            return invalid(format!("{name} is not there to kill"));
        };
        process.signal(Signal::KILL)?;
        match process.ended(KILL_DEADLINE)? {
            Some(status) if status.signal() == Some(Signal::KILL.as_raw()) => {}
            Some(status) => return failed(format!("{name} ended by itself: {status}; {}", self.logs[one].display())),
            None => return invalid(format!("{name} survived SIGKILL")),
        }
        self.story.killed(&name);
        Ok(began)
    }

    /// SIGTERM; returns when it has ended in order.
    fn stop(&mut self, one: usize) -> Result<Instant, Trouble> {
        let began = Instant::now();
        self.send(one, Signal::TERM)?;
        let name = self.name(one);
        self.story.say(&format!("{name}: SIGTERM"));
        let Some(mut process) = self.processes[one].take() else {
            return invalid("a signal to an instance that does not run");
        };
        match process.ended(STOP_DEADLINE)? {
            Some(status) if status.success() => Ok(began),
            Some(status) => failed(format!("{name} ended with {status}; {}", self.logs[one].display())),
            None => failed(format!("{name} does not stop; {}", self.logs[one].display())),
        }
    }

    /// Waits until one has everything: then the group has noticed that the other is gone.
    fn taken_over(&mut self, one: usize, what: &str, since: Instant) -> Result<(), Trouble> {
        let all = wait_for(TAKE_OVER_DEADLINE, || Ok((self.owned(one)?.len() == PARTITIONS).then_some(())))?;
        if all.is_none() {
            return invalid(format!("{what} did not take hold: {} has not taken over", self.name(one)));
        }
        self.story.recovered(&self.name(one), &format!("took over ({what})"), since);
        Ok(())
    }

    fn has_some(&mut self, one: usize) -> Result<(), Trouble> {
        let some = wait_for(RECOVERY_DEADLINE, || Ok((!self.owned(one)?.is_empty()).then_some(())))?;
        if some.is_none() {
            return failed(format!("{} gets no partitions", self.name(one)));
        }
        Ok(())
    }

    /// Waits until both have a part, and both parts are the whole.
    fn shared(&mut self, what: &str) -> Result<(), Trouble> {
        let began = Instant::now();
        let shared = wait_for(RECOVERY_DEADLINE, || {
            let (first, second) = (self.owned(0)?, self.owned(1)?);
            let whole = first.len() + second.len() == PARTITIONS && first.is_disjoint(&second);
            Ok((whole && !first.is_empty() && !second.is_empty()).then_some(()))
        })?;
        if shared.is_none() {
            return failed(format!("{}: the instances do not share the partitions again after {what}", self.service));
        }
        self.story.recovered(self.service, &format!("shared again ({what})"), began);
        Ok(())
    }

    /// The partitions of an instance, as it says itself; none where it does not answer.
    fn owned(&mut self, one: usize) -> Result<BTreeSet<(String, i64)>, Trouble> {
        let Some(status) = self.status(one)? else { return Ok(BTreeSet::new()) };
        let partitions = status["consumer"]["partitions"].as_array().into_iter().flatten();
        let staying = partitions.filter(|at| at["leaving"] != true);
        Ok(staying.filter_map(|at| Some((at["topic"].as_str()?.to_owned(), at["partition"].as_i64()?))).collect())
    }

    fn status(&mut self, one: usize) -> Result<Option<Value>, Trouble> {
        self.alive(one)?;
        let Some(address) = self.doors.of(one) else { return Ok(None) };
        let answer = self.client.get(format!("http://{address}/api/kafka/status")).send();
        let body = answer.and_then(Response::bytes).ok();
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// No one ends by itself.
    fn alive(&mut self, one: usize) -> Result<(), Trouble> {
        let name = self.name(one);
        let Some(process) = &mut self.processes[one] else { return Ok(()) };
        match process.ended(Duration::ZERO)? {
            None => Ok(()),
            Some(status) => failed(format!("{name} ended by itself: {status}; {}", self.logs[one].display())),
        }
    }

    fn name(&self, one: usize) -> String {
        format!("{}/{}", self.service, ["a", "b"][one])
    }
}

fn other(one: usize) -> usize {
    INSTANCES - 1 - one
}

/// Where micro-1's database lies, in the folder of the run.
pub(crate) fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The address of the API, as the log has it.
fn address_in(log: &str) -> Option<String> {
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let started = entries.into_iter().find(|entry| entry["message"] == "started")?;
    started["api"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_in_the_line_that_says_started() {
        let log =
            "no json\n{\"message\":\"joined\",\"api\":\"x\"}\n{\"message\":\"started\",\"api\":\"127.0.0.1:1\"}\n";
        assert_eq!(address_in(log).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(address_in("{\"message\":\"star"), None);
    }
}

//! The brokers that dev/kafka started: killed, seen to be gone, and started again; and the topics of a run.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use contracts::topic;
use kafka_actors::dead_letter;
use rustix::process::{Pid, Signal, kill_process};

use crate::kcat::Kcat;
use crate::plan::{BROKERS, BrokerFault};
use crate::story::Story;
use crate::trouble::{Trouble, failed, invalid, wait_for};

/// A controller notices after 9 s that a broker is gone; where the controller itself was killed, another is voted first.
const LEADERS_DEADLINE: Duration = Duration::from_secs(90);
/// Until a broker that came back has all that it missed.
const IN_SYNC_DEADLINE: Duration = Duration::from_mins(2);
/// Until the kernel has ended what was killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// Of each topic; as many as the product would create.
const PARTITIONS: &str = "8";

/// The cluster.
pub(crate) struct Brokers<'a> {
    /// `KAFKA_DEV_DIR`: a folder for each broker, with `pid` and `start`.
    pub(crate) folder: PathBuf,
    /// `KAFKA_DEV_JARS`: Kafka's own tools.
    pub(crate) jars: String,
    pub(crate) addresses: String,
    pub(crate) kcat: &'a Kcat,
    pub(crate) story: &'a Story,
}

impl Brokers<'_> {
    /// Three brokers that no one has used: what is found in the topics at the end must be of this run.
    pub(crate) fn check_fresh(&self) -> Result<(), Trouble> {
        if !(1..=BROKERS).all(|broker| self.folder.join(broker.to_string()).join("pid").exists()) {
            return invalid("wants three brokers: dev/kafka --brokers 3 -- cargo run -p chaos --bin chaos");
        }
        let partitions = self.kcat.partitions()?;
        match partitions.keys().find(|(name, _)| topic::ALL.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                invalid(format!("the topic {name} is there already: requires a Kafka that no one has used"))
            }
        }
    }

    /// Creates the topics that are read at the end, with the time at which the broker appended a record instead of that
    /// at which somebody made it. The product makes the others.
    pub(crate) fn create_topics(&self) -> Result<(), Trouble> {
        let letters =
            [topic::USER_EVENTS, topic::NOTIFICATION_EVENTS].map(|name| format!("{name}{}", dead_letter::SUFFIX));
        let names = [topic::USER_EVENTS, topic::NOTIFICATION_EVENTS, &letters[0], &letters[1]];
        for name in names {
            let mut command = Command::new("java");
            command.args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", self.jars)]);
            command.args(["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &self.addresses, "--create"]);
            command.args([
                "--topic",
                name,
                "--partitions",
                PARTITIONS,
                "--config",
                "message.timestamp.type=LogAppendTime",
            ]);
            let output = command.stdin(Stdio::null()).output()?;
            if !output.status.success() {
                return invalid(format!("{name} cannot be created: {}", String::from_utf8_lossy(&output.stdout)));
            }
        }
        // An acknowledged record is on a second broker when one is killed.
        let partitions = self.kcat.partitions()?;
        match partitions.iter().find(|(_, state)| state.replicas != BROKERS) {
            None => Ok(()),
            Some(((name, _), state)) => invalid(format!("{name} has {} replicas", state.replicas)),
        }
    }

    /// Kills a broker, sees that the others lead without it, starts it again and waits until it has all.
    pub(crate) fn suffer(&self, BrokerFault { broker, away, .. }: BrokerFault) -> Result<(), Trouble> {
        let began = Instant::now();
        self.kill(broker)?;
        let id = i64::try_from(broker).unwrap_or(i64::MAX);
        let moved = wait_for(LEADERS_DEADLINE, || {
            // While the controller is voted, kcat may not get an answer.
            let Ok(partitions) = self.kcat.partitions() else { return Ok(None) };
            let without = |leader: i64, in_sync: &[i64]| leader > 0 && leader != id && !in_sync.contains(&id);
            let moved = partitions.values().all(|state| without(state.leader, &state.in_sync));
            Ok((moved && !partitions.is_empty()).then_some(()))
        })?;
        if moved.is_none() {
            return invalid(format!("broker {broker} was killed, and its partitions have no other leader"));
        }
        self.story.recovered(&format!("broker {broker}"), "others lead (broker kill)", began);
        std::thread::sleep(away);
        let began = Instant::now();
        self.start(broker)?;
        let in_sync = wait_for(IN_SYNC_DEADLINE, || {
            let Ok(partitions) = self.kcat.partitions() else { return Ok(None) };
            let whole = partitions.values().all(|state| state.in_sync.len() == state.replicas);
            Ok((whole && !partitions.is_empty()).then_some(()))
        })?;
        if in_sync.is_none() {
            return failed(format!("broker {broker} was started again, and is not in sync"));
        }
        self.story.recovered(&format!("broker {broker}"), "in sync (broker start)", began);
        Ok(())
    }

    fn kill(&self, broker: usize) -> Result<(), Trouble> {
        let pid = fs::read_to_string(self.folder.join(broker.to_string()).join("pid"))?;
        let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) else { return invalid("no pid of a broker") };
        kill_process(pid, Signal::KILL).map_err(|error| Trouble::Kill { broker, error: error.into() })?;
        self.story.broker_killed(broker);
        // No one may have waited for it yet, and then it is a zombie.
        let is_gone = || match fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
            Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z')),
            Err(_) => true,
        };
        match wait_for(KILL_DEADLINE, || Ok(is_gone().then_some(())))? {
            Some(()) => Ok(()),
            None => invalid(format!("broker {broker} survived SIGKILL")),
        }
    }

    fn start(&self, broker: usize) -> Result<(), Trouble> {
        let start = self.folder.join(broker.to_string()).join("start");
        self.story.say(&format!("broker {broker}: start"));
        let status = Command::new(start).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { invalid(format!("broker {broker} cannot be started: {status}")) }
    }
}

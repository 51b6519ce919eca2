//! A cluster of a test's own, for tests that break it or want one of another kind.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A real Kafka that lives as long as this.
pub(super) struct Cluster {
    dev_kafka: Child,
    variables: BTreeMap<String, String>,
}

impl Cluster {
    /// Runs `dev/kafka` with these arguments.
    #[track_caller]
    pub(super) fn start(arguments: &[&str]) -> Self {
        // It says what `dev/kafka` tells it, and ends when its input does: also when this process is killed.
        const TELL: &str = "env | grep '^KAFKA_'; echo up; exec cat >&2";
        let mut dev_kafka = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../dev/kafka"))
            .args(arguments)
            .args(["--", "sh", "-c", TELL])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(dev_kafka.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut up = false;
        let told = lines.take_while(|line| {
            up = line == "up";
            !up
        });
        let variables = told
            .filter_map(|line| Some(line.split_once('=')?).map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect();
        let cluster = Self { dev_kafka, variables };
        assert!(up, "dev/kafka did not start: {:?}", cluster.variables);
        cluster
    }

    /// A variable that `dev/kafka` sets.
    #[track_caller]
    pub(super) fn variable(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("dev/kafka does not tell {name}"))
    }

    pub(super) fn brokers(&self) -> &str {
        self.variable("KAFKA_BROKERS")
    }

    fn broker(&self, number: u8) -> PathBuf {
        PathBuf::from(self.variable("KAFKA_DEV_DIR")).join(number.to_string())
    }

    /// Ends a broker at once, as a power cut would; its data stays.
    #[track_caller]
    pub(super) fn kill_broker(&self, number: u8) {
        let pid = std::fs::read_to_string(self.broker(number).join("pid")).unwrap();
        assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap().success());
    }

    /// Starts a broker again on its ports and data; it is up some time later.
    #[track_caller]
    pub(super) fn restart_broker(&self, number: u8) {
        assert!(Command::new(self.broker(number).join("start")).status().unwrap().success());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.dev_kafka.stdin.take());
        // It deletes its folder on the way; there is no one to tell if it cannot.
        let _ = self.dev_kafka.wait();
    }
}

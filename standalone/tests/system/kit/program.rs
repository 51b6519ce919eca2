//! The program under test as a process, and how to start it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kafka_actors::kafka::EmbeddedBroker;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::Value;

use super::broker::turn;
use super::{GIVE_UP, wait_for};

/// The program as a process.
pub(crate) struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<thread::JoinHandle<()>>,
    /// By service: address of the API and of the management listener.
    addresses: BTreeMap<String, (String, String)>,
    _data: Option<tempfile::TempDir>,
}

/// Has a shell close what it inherits but the first three descriptors, and become the program. An embedded broker does not
/// keep its sockets from those whom its process starts: a process that holds one holds a connection open that the broker has
/// closed, or its port. (To have them closed on exec would take unsafe code.)
const CLOSE_AND_BECOME: &str = r#"for fd in /dev/fd/*; do
  fd=${fd##*/}
  ((fd > 2)) && eval "exec $fd>&-"
done
exec "$0" "$@""#;

/// The program, which inherits no descriptors but the first three.
fn program() -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", CLOSE_AND_BECOME, env!("CARGO_BIN_EXE_standalone")]);
    command
}

/// Starts it; the shell has become the program when this returns.
#[track_caller]
fn spawn(command: &mut Command) -> Child {
    let _turn = turn();
    let mut child = command.spawn().unwrap();
    // As the link below has it: without links on its way.
    let program = Path::new(env!("CARGO_BIN_EXE_standalone")).canonicalize().unwrap();
    // Where there is no such link no one waits.
    let is_the_shell =
        |child: &Child| std::fs::read_link(format!("/proc/{}/exe", child.id())).is_ok_and(|runs| runs != program);
    while is_the_shell(&child) && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    child
}

/// How to start the program.
pub(crate) struct Start {
    command: Command,
    services: usize,
    data: Option<tempfile::TempDir>,
}

impl Start {
    /// `cargo run`: both services, and an embedded broker of their own.
    pub(crate) fn both() -> Self {
        Self::new(&[], 2)
    }

    /// One service.
    pub(crate) fn one(service: &str) -> Self {
        Self::new(&[service], 1)
    }

    fn new(words: &[&str], services: usize) -> Self {
        let mut command = program();
        let data = tempfile::tempdir().unwrap();
        // Nothing of the machine's own environment or of an `.env` in the project reaches the program.
        command.args(words).env_clear().current_dir(data.path()).env("LOG_FORMAT", "json").env("DATA_DIR", data.path());
        for service in ["MICRO_1", "MICRO_2"] {
            command.env(format!("{service}_PORT"), "0").env(format!("{service}_MANAGEMENT_PORT"), "0");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, services, data: Some(data) }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.command.env(name, value.as_ref());
        self
    }

    /// Against an embedded broker of the test's process.
    pub(crate) fn on(self, broker: &EmbeddedBroker) -> Self {
        self.env("KAFKA_BROKERS", broker.bootstrap())
            .env("KAFKA_PROPERTY_GROUP_PROTOCOL", "consumer")
            .env("KAFKA_PROPERTY_FETCH_WAIT_MAX_MS", "10")
            .env("KAFKA_PROPERTY_LINGER_MS", "2")
    }

    /// What it has begun is finished before it stops or gives partitions away, however slow the machine is.
    pub(crate) fn finishing(self) -> Self {
        self.env("DRAIN_DEADLINE_MS", "60000").env("REBALANCE_DRAIN_DEADLINE_MS", "60000")
    }

    /// With its database in a folder that outlives the process.
    pub(crate) fn keeping(self, folder: &tempfile::TempDir) -> Self {
        self.env("DATA_DIR", folder.path().to_str().unwrap())
    }

    /// Starts it and waits until it listens; see [`Program::ready`] for more.
    #[track_caller]
    pub(crate) fn start(self) -> Program {
        let services = self.services;
        let mut program = self.spawn();
        program.addresses = wait_for("the program to listen", || {
            let found = program.listening();
            assert!(program.is_running() || found.len() == services, "it ended: {}", program.output());
            (found.len() == services).then_some(found)
        });
        program
    }

    /// Starts it and waits for nothing.
    fn spawn(self) -> Program {
        let Self { mut command, data, .. } = self;
        let mut child = spawn(&mut command);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        for pipe in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            let lines = Arc::clone(&lines);
            readers.push(thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            }));
        }
        Program { child, lines, readers, addresses: BTreeMap::new(), _data: data }
    }

    /// Writes a file into the folder it is started in.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.data.as_ref().unwrap().path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn words(mut self, words: &[&str]) -> Self {
        self.command.args(words);
        self
    }

    /// Runs it to its end; for starts that are refused.
    #[track_caller]
    pub(crate) fn run_to_end(self) -> (ExitStatus, String) {
        let mut program = self.spawn();
        let status = program.ended();
        (status, program.output())
    }
}

impl Program {
    /// Waits until all services are ready.
    #[track_caller]
    pub(crate) fn ready(self) -> Self {
        for service in self.addresses.keys() {
            self.wait_until_ready(service);
        }
        self
    }

    pub(crate) fn url(&self, service: &str, path: &str) -> String {
        format!("http://{}{path}", self.addresses[service].0)
    }

    pub(crate) fn management_url(&self, service: &str, path: &str) -> String {
        format!("http://{}{path}", self.addresses[service].1)
    }

    #[track_caller]
    pub(crate) fn get(&self, service: &str, path: &str) -> Response {
        client().get(self.url(service, path)).send().unwrap()
    }

    #[track_caller]
    pub(crate) fn manage(&self, service: &str, path: &str) -> Response {
        client().get(self.management_url(service, path)).send().unwrap()
    }

    pub(crate) fn post(&self, service: &str, path: &str) -> RequestBuilder {
        client().post(self.url(service, path))
    }

    /// Sends an event of the demo and gives the `data` of the answer.
    #[track_caller]
    pub(crate) fn send_to_micro_2(&self, topic: &str, message: &Value) -> Value {
        let body = serde_json::json!({"message": message, "topic": topic});
        let response = self.post("micro-1", "/api/kafka/send-to-micro2").json(&body).send().unwrap();
        let status = response.status();
        let answer: Value = response.json().unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["data"].clone()
    }

    /// `/api/kafka/status` of a service.
    #[track_caller]
    pub(crate) fn status(&self, service: &str) -> Value {
        self.get(service, "/api/kafka/status").json().unwrap()
    }

    /// The state of a handler, as `/api/kafka/status` has it.
    #[track_caller]
    pub(crate) fn actor(&self, service: &str, topic: &str) -> Value {
        let status = self.status(service);
        status["actors"].as_array().unwrap().iter().find(|actor| actor["topic"] == topic).unwrap().clone()
    }

    /// The notifications of a user that micro-1 keeps.
    #[track_caller]
    pub(crate) fn notifications(&self, user: u64) -> Vec<Value> {
        let page: Value = self.get("micro-1", &format!("/api/notifications/{user}?limit=1000")).json().unwrap();
        page["notifications"].as_array().unwrap().clone()
    }

    /// The routed messages that the service remembers, newest first.
    #[track_caller]
    pub(crate) fn routed(&self, service: &str, query: &str) -> Vec<Value> {
        let found: Value = self.manage(service, &format!("/messages?{query}")).json().unwrap();
        found["messages"].as_array().unwrap().clone()
    }

    /// Addresses of the API and of the management listener by service: from the journal, or from the banner where
    /// the log is for people.
    fn listening(&self) -> BTreeMap<String, (String, String)> {
        let from_journal = self.journal("started").into_iter().map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (text("service"), (text("api"), text("management")))
        });
        let lines = self.lines.lock().unwrap();
        let from_banner = lines.iter().filter_map(|line| {
            let (service, rest) = line.trim().split_once("  http://")?;
            let (api, rest) = rest.split_once("  (management http://")?;
            Some((service.to_owned(), (api.to_owned(), rest.strip_suffix(')')?.to_owned())))
        });
        from_banner.chain(from_journal).collect()
    }

    #[track_caller]
    pub(crate) fn wait_until_ready(&self, service: &str) {
        wait_for("readiness", || (self.get(service, "/readyz").status() == 200).then_some(()));
    }

    /// Runs `standalone healthcheck` against it.
    #[track_caller]
    pub(crate) fn healthcheck(&self) -> ExitStatus {
        let mut command = program();
        command.arg("healthcheck").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // No `.env` of the project reaches it.
        let nowhere = tempfile::tempdir().unwrap();
        for (service, (api, _)) in &self.addresses {
            let prefix = service.to_uppercase().replace('-', "_");
            command.env(format!("{prefix}_PORT"), api.rsplit_once(':').unwrap().1);
        }
        spawn(command.current_dir(nowhere.path())).wait().unwrap()
    }

    /// Log lines with that message, parsed.
    pub(crate) fn journal(&self, message: &str) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|entry| entry["message"] == message).collect()
    }

    /// Attempts to write a dead letter that failed.
    pub(crate) fn delayed_dead_letters(&self) -> Vec<Value> {
        self.journal("dead letter not written, its lane waits")
    }

    /// How many of them may have written it all the same, as a slow machine answers late: it is written again then.
    pub(crate) fn unknown_dead_letters(&self) -> usize {
        let delayed = self.delayed_dead_letters().into_iter();
        delayed.filter(|line| line["error"].as_str().unwrap().contains("outcome is unknown")).count()
    }

    /// Everything it printed.
    pub(crate) fn output(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: sends a signal to a child that is not reaped yet, so its id is its own.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0);
    }

    /// Asks it to stop, and waits for its end.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.ended()
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, and for the last of its output.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = wait_for("the program's end", || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- output of the program ---\n{}", self.output());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn client() -> Client {
    Client::builder().timeout(GIVE_UP).build().unwrap()
}

/// The status code of a GET, or nothing where no one answers.
pub(crate) fn try_get(url: &str) -> Option<u16> {
    client().get(url).send().ok().map(|response| response.status().as_u16())
}

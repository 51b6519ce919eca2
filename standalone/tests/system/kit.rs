//! What the tests stand on: a broker, the program as a process, HTTP, and waiting for a state.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use actors::kafka::EmbeddedBroker;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{DeliveryResult, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::Value;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::raw::Raw;

/// Ends a wait that would never end. Far above what anything takes, also on a busy machine: no test depends on it.
const GIVE_UP: Duration = Duration::from_mins(1);

/// Every topic of the two services, with those of the dead letters.
pub(crate) const TOPICS: [&str; 4] = ["user.events", "micro-1.events", "notification.events", "micro-2.events"];

/// Partitions of each of them.
pub(crate) const PARTITIONS: i32 = 8;

/// Waits until `state` gives something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(reached) = state() {
            return reached;
        }
        assert!(began.elapsed() < GIVE_UP, "waited {GIVE_UP:?} for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A user id that no other test of this run has.
pub(crate) fn new_user() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Random in its upper part, so that runs on one cluster do not meet.
    let run = uuid::Uuid::now_v7().as_u128() & 0xffff_ffff;
    u64::try_from(run).unwrap() * 4096 + NEXT.fetch_add(1, Ordering::Relaxed) % 4096 + 1
}

/// A name that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::now_v7().simple())
}

/// An embedded broker in the test's own process, so that the test can kill services and bring the broker down.
pub(crate) fn embedded_broker() -> Arc<EmbeddedBroker> {
    let broker = EmbeddedBroker::start().unwrap();
    for topic in TOPICS {
        broker.create_topic(topic, PARTITIONS).unwrap();
        broker.create_topic(&format!("{topic}.dlq"), PARTITIONS).unwrap();
    }
    Arc::new(broker)
}

/// The program as a process.
pub(crate) struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<thread::JoinHandle<()>>,
    /// By service: address of the API and of the management listener.
    addresses: BTreeMap<String, (String, String)>,
    _data: Option<tempfile::TempDir>,
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
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
        let mut child = command.spawn().unwrap();
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
            wait_for("readiness", || (self.get(service, "/readyz").status() == 200).then_some(()));
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

    /// How a handler stands, as `/api/kafka/status` has it.
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

    /// Runs `standalone healthcheck` against it.
    #[track_caller]
    pub(crate) fn healthcheck(&self) -> ExitStatus {
        let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
        command.arg("healthcheck").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // No `.env` of the project reaches it.
        let nowhere = tempfile::tempdir().unwrap();
        for (service, (api, _)) in &self.addresses {
            let prefix = service.to_uppercase().replace('-', "_");
            command.env(format!("{prefix}_PORT"), api.rsplit_once(':').unwrap().1);
        }
        command.current_dir(nowhere.path()).status().unwrap()
    }

    /// Log lines with that message, parsed.
    pub(crate) fn journal(&self, message: &str) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|entry| entry["message"] == message).collect()
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

/// The two services on a broker of the test's process, shared by the tests that run at the same time and stopped by
/// the last of them.
pub(crate) struct World {
    pub(crate) program: Program,
    pub(crate) kafka: Raw,
    _broker: Arc<EmbeddedBroker>,
}

impl World {
    pub(crate) fn start(adjust: impl FnOnce(Start) -> Start) -> Self {
        let broker = embedded_broker();
        let program = adjust(Start::both().on(&broker)).start().ready();
        Self { program, kafka: Raw::new(&broker.bootstrap()), _broker: broker }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever the tests did to it: it still drains and leaves without a complaint.
        if !thread::panicking() {
            assert!(self.program.stop().success(), "{}", self.program.output());
        }
    }
}

/// Where the tests of a module find their world.
pub(crate) struct Shared(Mutex<Weak<World>>);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The world that is running, or a new one.
    pub(crate) fn world(&self) -> Arc<World> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.upgrade().unwrap_or_else(|| {
            let world = Arc::new(World::start(|start| start));
            *known = Arc::downgrade(&world);
            world
        })
    }
}

/// The status code of a GET, or nothing where nobody answers.
pub(crate) fn try_get(url: &str) -> Option<u16> {
    client().get(url).send().ok().map(|response| response.status().as_u16())
}

/// A record as another client reads it.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) value: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// How long one question to a broker may take; see [`GIVE_UP`].
const ASKING: Duration = GIVE_UP;

fn reader(broker: &EmbeddedBroker, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap()).set("group.id", group).set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest").set("reconnect.backoff.max.ms", "100").create().unwrap()
}

/// Every record of a topic that is there now.
#[track_caller]
pub(crate) fn read_topic(broker: &EmbeddedBroker, topic: &str) -> Vec<Read> {
    let consumer = reader(broker, "reader");
    let mut list = TopicPartitionList::new();
    let mut missing = 0;
    for partition in 0..PARTITIONS {
        let (low, high) = consumer.fetch_watermarks(topic, partition, ASKING).unwrap();
        missing += high - low;
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut found = Vec::new();
    while missing > 0 {
        let record = wait_for("a record", || consumer.poll(Duration::from_millis(100))).unwrap();
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let headers = record.headers().into_iter().flat_map(Headers::iter);
        found.push(Read {
            partition: record.partition(),
            offset: record.offset(),
            value: text(record.payload()),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
        });
        missing -= 1;
    }
    found
}

/// The next offset of each partition that a group has committed; 0 where it has none.
#[track_caller]
pub(crate) fn committed(broker: &EmbeddedBroker, group: &str, topic: &str) -> Vec<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, PARTITIONS - 1);
    let committed = reader(broker, group).committed_offsets(list, ASKING).unwrap();
    committed.elements().iter().map(|at| at.offset().to_raw().unwrap_or(0).max(0)).collect()
}

/// Another producer: what it has sent is in the log.
pub(crate) struct Feeder {
    producer: BaseProducer<Acknowledged>,
}

/// By its place in the burst: where a record was written.
#[derive(Default)]
struct Acknowledged(Mutex<BTreeMap<usize, (i32, i64)>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Box<usize>) {
        if let Ok(written) = result {
            self.0.lock().unwrap().insert(*place, (written.partition(), written.offset()));
        }
    }
}

impl Feeder {
    pub(crate) fn new(broker: &EmbeddedBroker) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.bootstrap()).set("enable.idempotence", "true");
        // The placement of the services: a user's records lie in one partition whoever wrote them.
        config.set("partitioner", "murmur2_random").set("linger.ms", "2");
        Self { producer: config.create_with_context(Acknowledged::default()).unwrap() }
    }

    /// Writes plain records (key and value, no headers) and returns where they lie, once all are acknowledged.
    #[track_caller]
    pub(crate) fn send(&self, topic: &str, records: &[(u64, Value)]) -> Vec<(i32, i64)> {
        for (place, (user, value)) in records.iter().enumerate() {
            let (key, value) = (user.to_string(), value.to_string());
            let record = BaseRecord::with_opaque_to(topic, Box::new(place)).key(&key).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(ASKING).unwrap();
        let written = std::mem::take(&mut *self.producer.context().0.lock().unwrap());
        assert_eq!(written.len(), records.len(), "every record is acknowledged");
        written.into_values().collect()
    }
}

/// micro-1's database, beside micro-1.
pub(crate) struct Database {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Database {
    /// Opens the one in that folder, which a micro-1 has made.
    #[track_caller]
    pub(crate) fn open(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.join("micro-1.db")).busy_timeout(GIVE_UP);
        let connection = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
        Self { runtime, connection }
    }

    #[track_caller]
    pub(crate) fn execute(&mut self, sql: String) {
        // The SQL is the test's own.
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        self.runtime.block_on(sql.execute(&mut self.connection)).unwrap();
    }

    #[track_caller]
    pub(crate) fn count(&mut self) -> usize {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM notifications");
        usize::try_from(self.runtime.block_on(count.fetch_one(&mut self.connection)).unwrap()).unwrap()
    }

    /// By user: what the notifications say, in the order in which they were stored.
    #[track_caller]
    pub(crate) fn contents(&mut self) -> BTreeMap<u64, Vec<String>> {
        let rows = sqlx::query_as::<_, (i64, String)>("SELECT user_id, content FROM notifications ORDER BY seq");
        let mut contents: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (user, content) in self.runtime.block_on(rows.fetch_all(&mut self.connection)).unwrap() {
            contents.entry(u64::try_from(user).unwrap()).or_default().push(content);
        }
        contents
    }
}

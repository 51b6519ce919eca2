//! A member: a service as a team would build it, whose handler waits 2 ms and writes what it does to a ledger.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use chaos::monotonic;
use kafka_actors::launch::{App, Program};
use kafka_actors::settings::environment;
use kafka_actors::{Contract, Declared, Defaults, Done, Event, Handler, HandlerResult, Route, ServiceBuilder};
use serde::{Deserialize, Serialize};

use super::ledger::Handling;

/// Names the topic and the ledger to a member, in its environment.
pub(crate) const TOPIC: &str = "CHURN_TOPIC";
pub(crate) const LEDGER: &str = "CHURN_LEDGER";
const HANDLER_TAKES: Duration = Duration::from_millis(2);

#[derive(Serialize, Deserialize, schemars::JsonSchema, garde::Validate)]
pub(crate) struct Tick {
    #[garde(skip)]
    pub(crate) key: u32,
}

impl Contract for Tick {
    const TYPE: &'static str = "tick.v1";

    fn key(&self) -> Option<String> {
        Some(self.key.to_string())
    }
}

/// Writes a line before and after each handling. A line is one write to a file: what was written is there after a kill.
struct Ledger(File);

impl Ledger {
    fn write(&self, what: char, event: &Event<Tick>) {
        let record = event.record();
        let line = format!("{what} {} {} {}\n", record.partition(), record.offset(), monotonic());
        (&self.0).write_all(line.as_bytes()).expect("the ledger can be written");
    }
}

impl Handler for Ledger {
    type Event = Tick;

    async fn handle(&self, event: &Event<Tick>) -> HandlerResult {
        self.write('s', event);
        tokio::time::sleep(HANDLER_TAKES).await;
        self.write('f', event);
        Ok(Done::Handled)
    }
}

/// Runs as a member until it is told to stop.
pub(crate) fn run() -> std::process::ExitCode {
    const APP: App = App {
        defaults: Defaults { service: "churn", port: 0, management_port: 0 },
        own: Declared::NONE,
        build: |settings, broker| {
            Box::pin(async move {
                let variables = environment();
                let path = variables[LEDGER].clone();
                let factory = move |_: &_| {
                    Ledger(OpenOptions::new().create(true).append(true).open(&path).expect("the ledger can be opened"))
                };
                Ok(ServiceBuilder::new(settings, broker).route(Route::each(&variables[TOPIC], factory)))
            })
        },
    };
    Program::alone("a member", &[APP]).main()
}

/// What a member wrote.
pub(crate) fn read(member: usize, ledger: &Path) -> Vec<Handling> {
    let text = std::fs::read_to_string(ledger).unwrap_or_default();
    let mut handlings: Vec<Handling> = Vec::new();
    let mut begun = std::collections::HashMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, partition, offset, at] = words[..] else { continue };
        let number = |word: &str| word.parse::<u64>().expect("a ledger holds numbers");
        let place = (i32::try_from(number(partition)).unwrap_or(-1), i64::try_from(number(offset)).unwrap_or(-1));
        let at = number(at);
        if what == "s" {
            begun.insert(place, handlings.len());
            handlings.push(Handling { member, place, start: at, finish: None });
        } else if let Some(begun) = begun.remove(&place) {
            handlings[begun].finish = Some(at);
        }
    }
    handlings
}

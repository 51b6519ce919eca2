//! The check of what a run left behind: the topics as kcat read them, micro-1's rows, the commits, and what the driver was
//! told. Pure: evidence in, broken promises out.

mod commits;
mod log;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use kafka_actors::event::header;

use crate::coordinator::Groups;
use crate::driver::{Fate, Post};
use crate::kcat::Record;
use crate::rows::{Observation, Row};

pub(crate) use log::{GARBAGE, distinct, is_garbage};

/// Everything that is known about a run.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// What the driver posted, and what it was told.
    pub(crate) posts: Vec<Post>,
    /// Whether everything was handled and committed, some time after nothing failed any more.
    pub(crate) settled: bool,
    /// `user.events`.
    pub(crate) events: Vec<Record>,
    /// `notification.events`.
    pub(crate) notifications: Vec<Record>,
    /// `user.events.dlq`.
    pub(crate) event_letters: Vec<Record>,
    /// `notification.events.dlq`.
    pub(crate) notification_letters: Vec<Record>,
    /// micro-1's rows in the order in which they were stored.
    pub(crate) rows: Vec<Row>,
    /// What the witness saw of them.
    pub(crate) observations: Vec<Observation>,
    /// Commits and generations.
    pub(crate) groups: Groups,
}

/// Broken promises; many of a kind are counted, and some told.
#[derive(Debug, Default)]
pub(crate) struct Broken(BTreeMap<&'static str, Vec<String>>);

/// So many of a kind are told.
const TOLD: usize = 5;

impl Broken {
    fn add(&mut self, promise: &'static str, how: String) {
        self.0.entry(promise).or_default().push(how);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    fn promises(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }

    pub(crate) fn told(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (promise, cases)| {
            // Writing to a text does not fail.
            let _ = writeln!(text, "{promise}: broken {} times", cases.len());
            for case in cases.iter().take(TOLD) {
                let _ = writeln!(text, "  {case}");
            }
            text
        })
    }
}

/// Every promise that the evidence shows to be broken.
pub(crate) fn check(evidence: &Evidence) -> Broken {
    let mut broken = Broken::default();
    if !evidence.settled {
        broken.add("in the end everything is handled", "something was still on its way".to_owned());
    }
    posts(evidence, &mut broken);
    log::check(evidence, &mut broken);
    commits::check(evidence, &mut broken);
    broken
}

/// What the driver was told of its posts.
fn posts(evidence: &Evidence, broken: &mut Broken) {
    let mut by_mark: HashMap<&str, Vec<&Record>> = HashMap::new();
    let mut by_place: HashMap<(i32, i64), &Record> = HashMap::new();
    for record in &evidence.events {
        by_place.insert((record.partition, record.offset), record);
        if let Some(mark) = record.header(header::CORRELATION_ID) {
            by_mark.entry(mark).or_default().push(record);
        }
    }
    // By user: number, partition and offset of the last acknowledged event.
    let mut last: HashMap<u64, (u64, i32, i64)> = HashMap::new();
    let mut sorted: Vec<&Post> = evidence.posts.iter().collect();
    sorted.sort_by_key(|post| (post.user, post.number));
    for post in sorted {
        let mark = post.mark();
        let found = by_mark.remove(mark.as_str()).unwrap_or_default();
        // The producer may write an event twice, but then it is the same one.
        let ids: HashSet<_> = found.iter().map(|record| record.header(header::ID)).collect();
        if ids.len() > 1 {
            broken.add("what is posted once is one event", format!("{mark}: {ids:?}"));
        }
        match &post.fate {
            Fate::Acknowledged { id, partition, offset } => {
                let is_there = by_place.get(&(*partition, *offset)).is_some_and(|record| {
                    record.header(header::ID) == Some(id)
                        && record.header(header::CORRELATION_ID) == Some(&mark)
                        && record.key_text() == post.user.to_string()
                        && record.value_text().contains(&format!("\"{mark}\""))
                });
                if !is_there {
                    let what = format!("{mark}, {id}, is not at {partition}/{offset}");
                    broken.add("an acknowledged event is at its coordinates", what);
                }
                if let Some(before) = last.insert(post.user, (post.number, *partition, *offset))
                    && (before.1 != *partition || before.2 >= *offset)
                {
                    let what =
                        format!("{mark} at {partition}/{offset} was posted after the one at {}/{}", before.1, before.2);
                    broken.add("events of a key are in the log as they were posted", what);
                }
            }
            Fate::NotSent if !found.is_empty() => {
                broken.add("what was refused is not in the log", mark);
            }
            Fate::Strange(answer) => {
                broken.add("a post is answered by 200, 408, 503 or 504", format!("{mark}: {answer}"));
            }
            Fate::NotSent | Fate::Unknown => {}
        }
    }
    for (mark, _) in by_mark {
        broken.add("what is in the log was posted", mark.to_owned());
    }
}

#[cfg(test)]
mod tests;

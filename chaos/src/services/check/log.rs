//! What became of the log: one row for each event, in the order of its key, and a dead letter for what is no event.

use std::collections::{BTreeMap, HashMap, HashSet};

use kafka_actors::dead_letter::header as letter;
use kafka_actors::event::header;

use super::{Broken, Evidence};
use crate::kcat::Record;
use crate::rows::Row;

/// What is written into the topic past the services, and is no event.
pub(crate) const GARBAGE: &str = "garbage ";

/// Whether a record is no event.
pub(crate) fn is_garbage(record: &Record) -> bool {
    record.header(header::ID).is_none() && record.value_text().starts_with(GARBAGE)
}

pub(super) fn check(evidence: &Evidence, broken: &mut Broken) {
    rows(evidence, broken);
    notifications(evidence, broken);
    letters(evidence, broken);
}

/// Every logged event has exactly one row, and the rows of a key are in the order of its events.
fn rows(evidence: &Evidence, broken: &mut Broken) {
    let mut by_mark: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in &evidence.rows {
        by_mark.entry(&row.correlation_id).or_default().push(row);
    }
    let mut last: HashMap<&str, (i64, &str)> = HashMap::new();
    for event in distinct(&evidence.events) {
        let Some(mark) = event.header(header::CORRELATION_ID) else {
            if !is_garbage(event) {
                broken.add("what is in the log was posted", format!("{}/{}", event.partition, event.offset));
            }
            continue;
        };
        let found = by_mark.remove(mark).unwrap_or_default();
        let [row] = found.as_slice() else {
            let what = format!("{mark} at {}/{} has {}", event.partition, event.offset, found.len());
            broken.add("every logged event has exactly one row", what);
            continue;
        };
        if row.source != "micro-2"
            || row.user.to_string() != event.key_text()
            || row.content != format!("Your profile was updated, {mark}.")
        {
            broken.add("a row says what its event said", format!("{mark}: {row:?}"));
        }
        if let Some((before, other)) = last.insert(event.key_text(), (row.seq, mark))
            && before >= row.seq
        {
            broken.add("rows of a key are in the order of the log", format!("{mark} was stored before {other}"));
        }
    }
    for mark in by_mark.keys() {
        broken.add("every row has an event", (*mark).to_owned());
    }
}

/// Every event has a notification, and one that was made again has the same identity.
fn notifications(evidence: &Evidence, broken: &mut Broken) {
    let mut by_cause: HashMap<&str, HashSet<&str>> = HashMap::new();
    for record in &evidence.notifications {
        let cause = record.header(header::CAUSATION_ID).unwrap_or_default();
        by_cause.entry(cause).or_default().insert(record.header(header::ID).unwrap_or_default());
    }
    for event in distinct(&evidence.events) {
        let Some(id) = event.header(header::ID) else { continue };
        match by_cause.remove(id) {
            None => broken.add("every event has a notification", id.to_owned()),
            Some(ids) if ids.len() > 1 => {
                broken.add("an event that comes again makes the same notification", format!("{id}: {ids:?}"));
            }
            Some(_) => {}
        }
    }
    for cause in by_cause.keys() {
        broken.add("every notification has an event", (*cause).to_owned());
    }
}

/// What is no event is a dead letter with all its bytes, and nothing else is.
fn letters(evidence: &Evidence, broken: &mut Broken) {
    let mut by_origin: BTreeMap<(i32, i64), Vec<&Record>> = BTreeMap::new();
    for record in &evidence.event_letters {
        by_origin.entry(origin(record)).or_default().push(record);
    }
    for garbage in evidence.events.iter().filter(|record| is_garbage(record)) {
        let place = (garbage.partition, garbage.offset);
        let found = by_origin.remove(&place).unwrap_or_default();
        if found.is_empty() {
            broken.add("what is no event is a dead letter", format!("{place:?}"));
        }
        if found.iter().any(|letter| letter.value != garbage.value || letter.key != garbage.key) {
            broken.add("a dead letter keeps every byte", format!("{place:?}"));
        }
    }
    let events = by_origin.into_keys();
    let notifications = evidence.notification_letters.iter().map(origin);
    for place in events.chain(notifications) {
        broken.add("an event is no dead letter", format!("{place:?}"));
    }
}

/// Where a dead letter came from.
pub(super) fn origin(record: &Record) -> (i32, i64) {
    let number = |name| record.header(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
    (i32::try_from(number(letter::ORIGIN_PARTITION)).unwrap_or(-1), number(letter::ORIGIN_OFFSET))
}

/// Records in the order of their partitions, without those that repeat an earlier one's id.
pub(crate) fn distinct(records: &[Record]) -> Vec<&Record> {
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by_key(|record| (record.partition, record.offset));
    let mut seen = HashSet::new();
    records.retain(|record| record.header(header::ID).is_none_or(|id| seen.insert(id)));
    records
}

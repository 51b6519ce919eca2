//! Every commit of the run against what was there when the coordinator took it: nothing is committed before its effect.
//!
//! The effect of an event is its notification in the log, that of garbage its dead letter, both with the time at which the
//! broker appended them; that of a notification is its row, which was not there yet when the witness did not see it.
//! What was lost after it was committed and made again would have a later time, so it would be seen too.

use std::collections::{BTreeMap, HashMap};

use contracts::topic;
use kafka_actors::event::header;
use kafka_actors::kafka::NOTES_SUFFIX;

use super::log::{is_garbage, origin};
use super::{Broken, Evidence};
use crate::coordinator::Commit;
use crate::kcat::Record;

/// By partition, for each offset: the earliest time at which it may be committed.
type Settled = BTreeMap<i32, Vec<i64>>;

/// Never settled.
const NEVER: i64 = i64::MAX;

pub(super) fn check(evidence: &Evidence, broken: &mut Broken) {
    let events = events(evidence);
    let notifications = notifications(evidence);
    for (group, topic, settled) in
        [("micro-2-group", topic::USER_EVENTS, &events), ("micro-1-group", topic::NOTIFICATION_EVENTS, &notifications)]
    {
        let below: BTreeMap<i32, Vec<i64>> = settled.iter().map(|(at, times)| (*at, latest_up_to(times))).collect();
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for commit in evidence.groups.commits.iter().filter(|commit| commit.topic == topic) {
            // A note says what is settled as a commit does, and is believed as one.
            let is_note = commit.group.strip_suffix(NOTES_SUFFIX) == Some(group);
            if !is_note && commit.group != group {
                continue;
            }
            let partition = commit.partition;
            let times = settled.get(&partition).map_or(&[][..], Vec::as_slice);
            let below = below.get(&partition).map_or(&[][..], Vec::as_slice);
            one(commit, times, below, broken);
            if !is_note {
                last.insert(partition, commit.offset);
            }
        }
        for (partition, times) in settled {
            let last = last.get(partition).copied().unwrap_or(0);
            if index(last) != times.len() {
                let what = format!("{group}: {topic}/{partition} is committed up to {last} of {}", times.len());
                broken.add("in the end everything is committed", what);
            }
        }
    }
}

/// One commit: `settled` for each offset, and `below` with the latest of all up to each.
fn one(commit: &Commit, settled: &[i64], below: &[i64], broken: &mut Broken) {
    let Commit { group, topic, partition, offset, at_ms, .. } = commit;
    let (length, end) = (settled.len(), index(*offset));
    let mut add = |what: String| {
        broken.add("nothing is committed before it is settled", format!("{group}: {topic}/{partition}: {what}"));
    };
    if end > length {
        return add(format!("{offset} is committed, and the log has {length}"));
    }
    if end > 0 && below[end - 1] > *at_ms {
        // The first of them, for the one who looks for the cause.
        let first = settled[..end].iter().position(|time| time > at_ms).unwrap_or(0);
        let late = late_by(settled[first], *at_ms);
        add(format!("{offset} is committed at {at_ms}, and {first} is settled {late}"));
    }
    for run in &commit.settled_above {
        for at in index(run.start)..index(run.end) {
            match settled.get(at) {
                None => return add(format!("{at} is named as settled, and the log has {length}")),
                Some(time) if time > at_ms => {
                    return add(format!("{at} is named as settled at {at_ms}, and is {}", late_by(*time, *at_ms)));
                }
                Some(_) => {}
            }
        }
    }
}

fn late_by(time: i64, at_ms: i64) -> String {
    if time == NEVER { "never".to_owned() } else { format!("{} ms later", time - at_ms) }
}

/// Offsets begin at 0 and are never negative.
fn index(offset: i64) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

fn latest_up_to(times: &[i64]) -> Vec<i64> {
    times
        .iter()
        .scan(i64::MIN, |latest, time| {
            *latest = (*latest).max(*time);
            Some(*latest)
        })
        .collect()
}

/// When the offsets of `user.events` were settled.
fn events(evidence: &Evidence) -> Settled {
    let mut answered: HashMap<&str, i64> = HashMap::new();
    for record in &evidence.notifications {
        let cause = record.header(header::CAUSATION_ID).unwrap_or_default();
        earlier(answered.entry(cause).or_insert(NEVER), record.appended_ms);
    }
    let mut buried: HashMap<(i32, i64), i64> = HashMap::new();
    for record in &evidence.event_letters {
        earlier(buried.entry(origin(record)).or_insert(NEVER), record.appended_ms);
    }
    settled(&evidence.events, |record| {
        if is_garbage(record) {
            return buried.get(&(record.partition, record.offset)).copied();
        }
        answered.get(record.header(header::ID)?).copied()
    })
}

/// When the offsets of `notification.events` were settled, at the earliest.
fn notifications(evidence: &Evidence) -> Settled {
    let stored: HashMap<(&str, &str), i64> =
        evidence.rows.iter().map(|row| ((row.source.as_str(), row.id.as_str()), row.seq)).collect();
    settled(&evidence.notifications, |record| {
        let identity = (record.header(header::SOURCE)?, record.header(header::ID)?);
        let seq = *stored.get(&identity)?;
        // The last observation without it.
        let before = evidence.observations.partition_point(|seen| seen.last_seq < seq).checked_sub(1);
        Some(before.map_or(i64::MIN, |before| evidence.observations[before].at_ms))
    })
}

fn earlier(time: &mut i64, other: i64) {
    *time = (*time).min(other);
}

fn settled<'a>(records: &'a [Record], time_of: impl Fn(&'a Record) -> Option<i64>) -> Settled {
    let mut settled = Settled::new();
    // The offsets of a partition are read without gaps, from 0 on.
    for record in records {
        settled.entry(record.partition).or_default().push(time_of(record).unwrap_or(NEVER));
    }
    settled
}

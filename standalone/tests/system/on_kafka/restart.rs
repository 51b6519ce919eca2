//! Restarts: a service goes on from what its group has committed, and what is committed is settled.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Value, json};

use super::{Groups, Shared, all_is_said, on, settled};
use crate::kit::{Out, Place, Raw, Seen, Start, new_user, wait_for};

const TOPIC: &str = "user.events";

/// Writes so many events, each of another user, and waits until all are in Kafka.
fn write_events(raw: &Raw, count: usize) {
    let events: Vec<Out> = (0..count)
        .map(|_| {
            let user = new_user();
            let event = json!({"userId": user, "action": "user_created", "data": {"fullName": "R"}}).to_string();
            Out::new(TOPIC, user, event)
        })
        .collect();
    raw.send_all(&events);
}

/// Dead letters of a key.
fn letters_of(kafka: &Raw, key: &str) -> Vec<Seen> {
    let mut letters = kafka.read_all("user.events.dlq");
    letters.retain(|letter| letter.key_text() == Some(key));
    letters
}

/// All offsets from the ones of one commit to those of another.
fn between<'a>(ranges: impl IntoIterator<Item = (&'a i32, Range<i64>)>) -> BTreeSet<(i32, i64)> {
    ranges.into_iter().flat_map(|(partition, offsets)| offsets.map(|offset| (*partition, offset))).collect()
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_restart_resumes_at_the_committed_offset_and_repeats_nothing_after_a_clean_stop() {
    let kafka = Shared::cluster();
    let raw = kafka.client();
    let groups = Groups::new();
    let start = || on(Start::one("micro-2"), &kafka.brokers, &groups);
    // It joins once, so that there are topics to write to, and handles what other tests have left in them: stopped in the
    // middle of that, it would leave some of it settled above the offset that it commits.
    let mut joins = start().start().ready();
    raw.wait_until_all_is_committed(&groups.micro_2, TOPIC);
    assert!(joins.stop().success());
    let began_at = raw.committed(&groups.micro_2, TOPIC);
    write_events(&raw, 3_000);

    // Slow enough to be met in the middle: one event at a time.
    let mut first = start().env("MAX_IN_FLIGHT", "1").env("MAX_IN_FLIGHT_RECORDS", "64").start();
    wait_for("the first settled event", || (!settled(&first, TOPIC).is_empty()).then_some(()));
    assert!(first.stop().success());
    all_is_said(&first);
    let stopped_at = raw.committed(&groups.micro_2, TOPIC);
    let by_first = settled(&first, TOPIC);
    let distinct: BTreeSet<_> = by_first.iter().copied().collect();
    assert_eq!(by_first.len(), distinct.len(), "an event was settled twice");
    let rest = between(stopped_at.iter().map(|(at, end)| (at, began_at[at]..*end)));
    assert_eq!(distinct, rest, "what is settled is what is committed");
    assert_ne!(stopped_at, raw.ends(TOPIC), "it was stopped in the middle");

    write_events(&raw, 200);
    let ends = raw.ends(TOPIC);
    let mut second = start().start();
    wait_for("the group at the end", || (raw.committed(&groups.micro_2, TOPIC) == ends).then_some(()));
    assert!(second.stop().success());
    all_is_said(&second);
    let by_second = settled(&second, TOPIC);
    let distinct: BTreeSet<_> = by_second.iter().copied().collect();
    assert_eq!(by_second.len(), distinct.len(), "an event was settled twice");
    let rest = between(stopped_at.iter().map(|(at, begin)| (at, *begin..ends[at])));
    assert_eq!(distinct, rest, "it resumed at the committed offset");
    assert_eq!(raw.committed(&groups.micro_2, TOPIC), ends);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_the_committed_offset_waits_for_a_dead_letter_that_cannot_be_written_also_over_a_crash() {
    let kafka = Shared::cluster();
    let raw = kafka.client();
    let groups = Groups::new();
    let start = || on(Start::one("micro-2"), &kafka.brokers, &groups).env("RETRY_MAX_BACKOFF_MS", "200");
    let mut program = start().start().ready();
    raw.wait_until_all_is_committed(&groups.micro_2, TOPIC);

    let refusing = raw.refuse_all("user.events.dlq");
    let (stuck, other) = (new_user().to_string(), new_user().to_string());
    let event = |user: &str, name: &str| {
        format!(r#"{{"userId":{user},"action":"user_created","data":{{"fullName":"{name}"}}}}"#)
    };
    let write = |partition, key: &str, value: &str| raw.send(&Out { partition, ..Out::new(TOPIC, key, value) });
    let garbage = write(None, &stuck, "garbage");
    let follower = write(Some(garbage.0), &stuck, &event(&stuck, "follower"));
    let neighbour = write(Some(garbage.0), &other, &event(&other, "neighbour"));
    let elsewhere = (garbage.0 + 1) % i32::try_from(raw.partitions(TOPIC).len()).unwrap();
    let is_settled = |program: &_, at: Place| settled(program, TOPIC).contains(&at).then_some(());
    let committed = || raw.committed(&groups.micro_2, TOPIC);

    wait_for("the neighbour", || is_settled(&program, neighbour));
    // Settled later, so a commit that has it comes after one that could have had the neighbour.
    let later = write(Some(elsewhere), &other, &event(&other, "later"));
    wait_for("a later commit", || (committed()[&elsewhere] > later.1).then_some(()));
    assert_eq!(committed()[&garbage.0], garbage.1, "the garbage is not settled");
    assert!(is_settled(&program, follower).is_none(), "an event of a key passed the one before it");
    let ready: Value = program.get("micro-2", "/readyz").json().unwrap();
    assert!(ready["reasons"].to_string().contains("dead letters that cannot be written"), "{ready}");

    program.kill();
    let program = start().start();
    wait_for("the delay", || (!program.journal("dead letter not written, its lane waits").is_empty()).then_some(()));
    assert_eq!(committed()[&garbage.0], garbage.1, "the crash moved the group");
    let letters = || letters_of(&raw, &stuck);
    assert!(letters().is_empty());

    drop(refusing);
    wait_for("the garbage", || is_settled(&program, garbage));
    wait_for("the follower", || is_settled(&program, follower));
    wait_for("the commit", || (committed()[&garbage.0] > neighbour.1).then_some(()));
    assert!(is_settled(&program, neighbour).is_none(), "what was settled behind the garbage was handled again");
    let letters = letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].header("dlq-origin-offset"), Some(garbage.1.to_string().as_str()));
    let mut program = program.ready();
    assert!(program.stop().success());
}

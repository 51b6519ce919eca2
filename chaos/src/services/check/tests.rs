//! A small run that kept every promise, and what the check says when one is broken in it.

use kafka_actors::dead_letter::header as letter;

use super::*;
use crate::coordinator::Commit;

/// Appended so long after the record before; a commit comes at half of it.
const STEP_MS: i64 = 10;

fn record(offset: i64, at_ms: i64, value: &str, headers: &str) -> Record {
    let (key, value) = (Some(b"7".to_vec()), Some(value.as_bytes().to_vec()));
    Record { partition: 0, offset, appended_ms: at_ms, key, value, headers: headers.to_owned() }
}

fn event(offset: i64, number: u64) -> Record {
    let headers = format!("ce_id=e{number},ce_source=micro-1,ce_correlationid=7-{number}");
    record(offset, 0, &format!(r#"{{"fullName":"7-{number}"}}"#), &headers)
}

fn notification(offset: i64, number: u64, at_ms: i64) -> Record {
    let headers = format!("ce_id=n{number},ce_source=micro-2,ce_correlationid=7-{number},ce_causationid=e{number}");
    record(offset, at_ms, "{}", &headers)
}

fn row(seq: i64, number: u64) -> Row {
    Row {
        seq,
        source: "micro-2".into(),
        id: format!("n{number}"),
        user: 7,
        content: format!("Your profile was updated, 7-{number}."),
        correlation_id: format!("7-{number}"),
    }
}

fn commit(topic: &str, offset: i64, settled_above: Option<std::ops::Range<i64>>, at_ms: i64) -> Commit {
    let group = if topic == "user.events" { "micro-2-group" } else { "micro-1-group" };
    let (group, topic) = (group.to_owned(), topic.to_owned());
    Commit { group, topic, partition: 0, offset, settled_above: settled_above.into_iter().collect(), at_ms }
}

fn acknowledged(number: u64, offset: i64) -> Post {
    Post { user: 7, number, fate: Fate::Acknowledged { id: format!("e{number}"), partition: 0, offset } }
}

/// The log: event 0, garbage, event 1 (whose outcome was unknown), event 3; event 2 was refused. Event 0 was answered
/// twice. The row of the first notification is seen first by the observation at 25, that of the last by the one at 65.
fn kept() -> Evidence {
    let origin = format!("{}=0,{}=1", letter::ORIGIN_PARTITION, letter::ORIGIN_OFFSET);
    let at = |step: i64| step * STEP_MS;
    Evidence {
        posts: vec![
            acknowledged(0, 0),
            Post { user: 7, number: 1, fate: Fate::Unknown },
            Post { user: 7, number: 2, fate: Fate::NotSent },
            acknowledged(3, 3),
        ],
        settled: true,
        events: vec![event(0, 0), record(1, 0, "garbage 1", ""), event(2, 1), event(3, 3)],
        notifications: vec![
            notification(0, 0, at(1)),
            notification(1, 0, at(2)),
            notification(2, 1, at(3)),
            notification(3, 3, at(5)),
        ],
        event_letters: vec![record(0, at(4), "garbage 1", &origin)],
        notification_letters: vec![],
        rows: vec![row(1, 0), row(2, 1), row(4, 3)],
        observations: [(15, 0), (25, 1), (55, 2), (65, 4)]
            .map(|(at_ms, last_seq)| Observation { at_ms, last_seq })
            .into(),
        groups: Groups {
            commits: vec![
                commit("user.events", 1, None, 15),
                // The garbage waits for its dead letter, event 1 does not.
                commit("user.events", 1, Some(2..3), 35),
                commit("user.events", 3, None, 45),
                commit("user.events", 4, None, 55),
                commit("notification.events", 2, None, 30),
                commit("notification.events", 4, None, 70),
                commit("micro-1.events", 9, None, 1),
            ],
            generations: [].into(),
        },
    }
}

/// What is broken when this is done to the run.
fn broken_by(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = kept();
    change(&mut evidence);
    check(&evidence).promises()
}

#[test]
fn a_run_with_repeats_refusals_and_garbage_keeps_every_promise() {
    let broken = check(&kept());
    assert!(broken.is_empty(), "{}", broken.told());
}

#[test]
fn an_event_that_the_producer_wrote_twice_is_one_event() {
    let again = |run: &mut Evidence| {
        run.events.push(event(4, 1));
        run.groups.commits.push(commit("user.events", 5, None, 99));
    };
    assert_eq!(broken_by(again), [""; 0]);
}

#[test]
fn an_acknowledgement_without_its_record_is_found() {
    let promise = "an acknowledged event is at its coordinates";
    assert!(broken_by(|run| run.posts[0] = acknowledged(0, 2)).contains(&promise));
    assert!(broken_by(|run| run.posts[0] = acknowledged(0, 9)).contains(&promise));
    assert!(broken_by(|run| run.events[0].key = Some(b"8".to_vec())).contains(&promise));
    assert!(broken_by(|run| run.events[0].value = Some(b"{}".to_vec())).contains(&promise));
}

#[test]
fn a_post_that_is_there_twice_or_though_refused_or_that_no_one_made_is_found() {
    let twice =
        broken_by(|run| run.events.push(Record { headers: "ce_id=x,ce_correlationid=7-1".into(), ..event(4, 1) }));
    assert!(twice.contains(&"what is posted once is one event"), "{twice:?}");
    let refused = broken_by(|run| run.events.push(event(4, 2)));
    assert!(refused.contains(&"what was refused is not in the log"), "{refused:?}");
    let foreign = broken_by(|run| run.events.push(event(4, 5)));
    assert!(foreign.contains(&"what is in the log was posted"), "{foreign:?}");
    let strange = broken_by(|run| run.posts[1].fate = Fate::Strange("500".into()));
    assert_eq!(strange, ["a post is answered by 200, 408, 503 or 504"]);
    let order = broken_by(|run| {
        (run.posts[0], run.posts[3]) = (acknowledged(0, 3), acknowledged(3, 0));
    });
    assert!(order.contains(&"events of a key are in the log as they were posted"), "{order:?}");
}

#[test]
fn a_row_that_is_missing_or_doubled_or_wrong_or_in_another_order_is_found() {
    let one = "every logged event has exactly one row";
    assert!(broken_by(|run| drop(run.rows.remove(1))).contains(&one));
    assert!(broken_by(|run| run.rows.push(Row { id: "other".into(), ..row(5, 1) })).contains(&one));
    assert_eq!(broken_by(|run| run.rows.push(row(5, 8))), ["every row has an event"]);
    assert_eq!(broken_by(|run| run.rows[0].user = 8), ["a row says what its event said"]);
    let order = broken_by(|run| (run.rows[0].seq, run.rows[1].seq) = (2, 1));
    assert!(order.contains(&"rows of a key are in the order of the log"), "{order:?}");
}

#[test]
fn a_notification_that_is_missing_or_differs_or_comes_of_nothing_is_found() {
    let missing = broken_by(|run| drop(run.notifications.pop()));
    assert!(missing.contains(&"every event has a notification"), "{missing:?}");
    let differs = broken_by(|run| run.notifications[1].headers = "ce_id=x,ce_causationid=e0".into());
    assert!(differs.contains(&"an event that comes again makes the same notification"), "{differs:?}");
    let foreign = broken_by(|run| run.notifications.push(notification(4, 8, 60)));
    assert!(foreign.contains(&"every notification has an event"), "{foreign:?}");
}

#[test]
fn a_dead_letter_that_is_missing_or_changed_or_of_an_event_is_found() {
    let missing = broken_by(|run| run.event_letters.clear());
    assert!(missing.contains(&"what is no event is a dead letter"), "{missing:?}");
    assert_eq!(broken_by(|run| run.event_letters[0].value = None), ["a dead letter keeps every byte"]);
    let letter = || record(1, 50, "{}", &format!("{}=0,{}=2", letter::ORIGIN_PARTITION, letter::ORIGIN_OFFSET));
    assert_eq!(broken_by(|run| run.event_letters.push(letter())), ["an event is no dead letter"]);
    assert_eq!(broken_by(|run| run.notification_letters.push(letter())), ["an event is no dead letter"]);
}

#[test]
fn a_commit_before_its_effect_is_found_in_the_offset_and_in_the_metadata() {
    let promise = ["nothing is committed before it is settled"];
    // Each is one too high, or too early.
    let commits = [
        commit("user.events", 2, None, 35),
        commit("user.events", 1, None, 5),
        commit("user.events", 1, Some(2..4), 35),
        commit("user.events", 3, None, 35),
        commit("notification.events", 1, None, 12),
        commit("notification.events", 3, None, 20),
        commit("notification.events", 0, Some(1..3), 20),
    ];
    for early in commits {
        // A note is believed as a commit is.
        let note = Commit { group: format!("{}.progress", early.group), ..early.clone() };
        for early in [early, note] {
            let told = format!("{early:?}");
            assert_eq!(broken_by(|run| run.groups.commits.insert(0, early)), promise, "{told}");
        }
    }
    for past_the_end in [commit("user.events", 5, None, 99), commit("user.events", 3, Some(4..5), 99)] {
        assert!(broken_by(|run| run.groups.commits.push(past_the_end)).contains(&promise[0]));
    }
}

#[test]
fn a_row_counts_as_stored_from_the_first_look_that_may_have_seen_it() {
    // The observation at 15 did not see the first row; a commit in the same millisecond may be later.
    let at = |at_ms| broken_by(|run| run.groups.commits.insert(0, commit("notification.events", 1, None, at_ms)));
    assert_eq!((at(14).len(), at(15).len()), (1, 0));
}

#[test]
fn what_is_not_handled_or_committed_in_the_end_is_found() {
    assert_eq!(broken_by(|run| run.settled = false), ["in the end everything is handled"]);
    let end = ["in the end everything is committed"];
    assert_eq!(broken_by(|run| drop(run.groups.commits.remove(3))), end);
    assert_eq!(broken_by(|run| run.groups.commits.retain(|it| it.topic != "notification.events")), end);
    // A note is no commit.
    assert_eq!(broken_by(|run| run.groups.commits[3].group.push_str(".progress")), end);
}

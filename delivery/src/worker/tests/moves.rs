//! Moves, the lease, and a driver that panics: what is given up, what waits, and what stays.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, policy};
use crate::outcome::HandlerError;
use crate::worker::Effect;

#[test]
fn of_a_closed_assignment_nothing_more_starts_and_what_was_started_ends_as_it_would_have() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "a", "b"]);
    let (first, _) = bench.begin().unwrap();
    bench.assignment.close();
    bench.lease.changed();
    bench.pass(Duration::ZERO);
    let mut given_up = bench.given_up();
    given_up.sort_unstable();
    assert_eq!((given_up, bench.effects()), (vec![1, 2], vec![]));
    bench.arrive(["c"]);
    assert_eq!(bench.given_up(), [3], "on arrival");
    assert!(bench.begin().is_none());
    bench.handles(first);
    assert_eq!(bench.settled(), [0]);
}

#[test]
fn of_an_ended_assignment_what_was_started_is_cancelled_and_its_answer_is_not_heard() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a"]);
    let (first, _) = bench.begin().unwrap();
    bench.assignment.end();
    bench.lease.changed();
    bench.pass(Duration::ZERO);
    assert_eq!((bench.effects(), bench.given_up()), (vec![Effect::Cancel(first)], vec![0]));
    bench.handles(first);
    assert!(bench.settled().is_empty() && bench.worker.is_empty());
}

#[test]
fn without_a_lease_nothing_begins_and_an_answer_waits_until_it_holds_again_or_is_forgotten() {
    for moved in [false, true] {
        let mut bench = Bench::new(policy());
        bench.arrive(["a", "b"]);
        let (first, _) = bench.begin().unwrap();
        bench.lease.end();
        assert!(bench.begin().is_none());
        bench.handles(first);
        assert_eq!((bench.settled(), bench.worker.next_timeout(&bench.now())), (vec![], None));
        if moved {
            bench.assignment.end();
            bench.lease.changed();
        }
        let now = bench.now().instant;
        bench.lease.renew(now, now + Duration::from_secs(1_000));
        bench.pass(Duration::ZERO);
        let mut given_up = bench.given_up();
        given_up.sort_unstable();
        let expected = if moved { (vec![], vec![0, 1]) } else { (vec![0], vec![]) };
        assert_eq!((bench.settled(), given_up), expected);
    }
}

#[test]
fn a_dead_letter_of_a_partition_that_leaves_is_written_once_more_or_left_to_the_next_owner() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "b"]);
    for _ in 0..2 {
        let (id, _) = bench.begin().unwrap();
        bench.answers(id, Err(HandlerError::permanent("no")));
    }
    let letters = bench.letters();
    bench.assignment.close();
    let now = bench.now();
    assert_eq!(bench.worker.letter_refused(&now, letters[0].0, letters[0].1), None);
    bench.worker.letter_written(letters[1].0, letters[1].1);
    assert_eq!((bench.given_up(), bench.settled()), (vec![0], vec![1]));
}

#[test]
fn a_driver_that_panics_keeps_every_record_in_its_order_and_its_attempts() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "a", "b", "c"]);
    let (first, events) = bench.begin().unwrap();
    assert_eq!(events, [("a", 1)]);
    bench.panics(first);
    let (_, events) = bench.begin().unwrap();
    assert_ne!(events[0].0, "a", "its backoff lasts, if only for a moment");
    bench.worker.recover("panicked".to_owned());
    assert_eq!((bench.worker.queued(), bench.worker.calls()), (4, 0));
    let mut tried: Vec<_> = (0..3).map(|_| bench.begin().unwrap()).collect();
    tried.sort_by_key(|(_, events)| events[0]);
    let events: Vec<_> = tried.iter().map(|(_, events)| events[0]).collect();
    assert_eq!(events, [("a", 2), ("b", 1), ("c", 1)]);
    for (id, _) in tried {
        bench.handles(id);
    }
    assert_eq!(bench.begin().unwrap().1, [("a", 1)]);
    let mut settled = bench.settled();
    settled.sort_unstable();
    assert_eq!(settled, [0, 2, 3]);
    bench.effects();
    assert_eq!(Arc::strong_count(&bench.assignment), 2, "what is settled and told is let go");
}

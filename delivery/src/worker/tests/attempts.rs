//! Attempts: what a failure costs, and whom.

use std::time::Duration;

use super::{Bench, DEADLINE, policy, transient};
use crate::outcome::{Done, HandlerError};
use crate::worker::breaker::BreakerPolicy;
use crate::worker::{Appetite, CallEnd, Effect, Run, WorkerPolicy, WorkerState};

#[test]
fn a_key_that_always_panics_uses_up_its_attempts_and_waits_for_its_dead_letter_while_others_go_on() {
    let mut bench = Bench::new(policy());
    bench.arrive(["bad", "bad", "good"]);
    for number in 1..=3 {
        let (id, events) = bench.begin().unwrap();
        let (id, events) = if events == [("good", 1)] {
            bench.handles(id);
            bench.begin().unwrap()
        } else {
            (id, events)
        };
        assert_eq!(events, [("bad", number)]);
        bench.panics(id);
    }
    let letters = bench.letters();
    assert_eq!((letters.len(), bench.settled()), (1, vec![2]));
    assert!(bench.begin().is_none(), "the second one waits behind the dead letter");
    bench.worker.letter_written(letters[0].0, letters[0].1);
    assert_eq!(bench.begin().unwrap().1, [("bad", 1)]);
    assert_eq!((bench.settled(), bench.is_open()), (vec![0], false));
}

#[test]
fn a_dead_letter_that_is_refused_is_written_again_after_a_pause_and_its_record_stays_owned() {
    let mut bench = Bench::new(policy());
    bench.arrive(["bad"]);
    let (id, _) = bench.begin().unwrap();
    bench.answers(id, Err(HandlerError::permanent("no")));
    let (id, wait) = bench.letters()[0];
    let now = bench.now();
    assert_eq!(bench.worker.letter_refused(&now, id, wait).map(|(times, _)| times), Some(1));
    assert_eq!((bench.letters(), bench.worker.delayed_letters(), bench.settled()), (vec![], 1, vec![]));
    bench.pass(Duration::from_micros(1));
    assert_eq!(bench.letters(), [(id, wait)]);
    bench.worker.letter_written(id, wait);
    assert_eq!((bench.settled(), bench.worker.delayed_letters()), (vec![0], 0));
    bench.effects();
    assert!(bench.worker.is_empty());
}

#[test]
fn enough_different_keys_open_the_breaker_before_they_cost_an_event_and_a_success_closes_it() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "b", "c", "d"]);
    let calls = bench.panic_at_all();
    assert!((3..=4 + 3).contains(&calls), "{calls}");
    assert!(bench.is_open() && bench.letters().is_empty() && bench.settled().is_empty());
    assert_eq!((bench.worker.state(), bench.worker.appetite()), (WorkerState::Open, Appetite::Nothing));
    // The one that was never called shows most.
    bench.pass(Duration::from_millis(100));
    let (id, events) = bench.begin().unwrap();
    assert_eq!((events, bench.worker.state()), (vec![("d", 1)], WorkerState::HalfOpen));
    assert!(bench.begin().is_none(), "one at a time");
    bench.handles(id);
    assert_eq!((bench.worker.state(), bench.worker.appetite()), (WorkerState::Running, Appetite::Everything));
    assert!(bench.effects().contains(&Effect::BreakerClosed));
    // What failed before is its own fault from here on: it uses up its attempts.
    bench.panic_at_all();
    assert!(!bench.is_open() && bench.letters().len() == 3);
}

#[test]
fn while_the_breaker_is_open_no_attempt_counts_and_when_all_have_failed_one_more_record_is_asked_for_each_time() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "b", "c"]);
    bench.panic_at_all();
    let mut asked = Vec::new();
    for _ in 0..10 {
        bench.pass(Duration::from_mins(1));
        let (id, events) = bench.begin().unwrap();
        assert!(events[0].1 <= 2, "{events:?}");
        asked.push(bench.worker.appetite());
        bench.panics(id);
        if asked.len() == 5 {
            bench.arrive(["e"]);
            assert_eq!(bench.worker.appetite(), Appetite::Nothing);
        }
    }
    assert_eq!(asked[..5], [Appetite::OneMore(1); 5]);
    assert_eq!((asked[5], asked[6]), (Appetite::Nothing, Appetite::OneMore(2)), "the new one was tried first");
    assert!(bench.letters().is_empty() && bench.settled().is_empty());
}

#[test]
fn the_last_attempts_of_enough_keys_wait_for_what_calls_in_flight_with_them_show() {
    for goes_well in [true, false] {
        let policy = policy();
        let once =
            WorkerPolicy { retry: crate::worker::retry::RetryPolicy { max_attempts: 1, ..policy.retry }, ..policy };
        let mut bench = Bench::new(once);
        bench.arrive(["slow"]);
        let (slow, _) = bench.begin().unwrap();
        bench.arrive(["a", "b", "c", "d"]);
        bench.panic_at_all();
        assert_eq!((bench.letters().len(), bench.is_open()), (2, false), "two are too few, the others wait");
        if goes_well {
            bench.handles(slow);
            assert_eq!((bench.letters().len(), bench.is_open()), (2, false));
        } else {
            bench.panics(slow);
            assert_eq!((bench.letters().len(), bench.is_open()), (0, true));
            bench.pass(Duration::from_millis(100));
            assert!(bench.begin().is_some(), "they are tried again");
        }
    }
}

#[test]
fn what_the_handler_needs_is_away_and_no_attempt_is_used_up() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a"]);
    for _ in 0..10 {
        let (id, events) = bench.begin().unwrap();
        assert_eq!(events, [("a", 1)]);
        bench.answers(id, Err(HandlerError::unavailable("the ledger is locked")));
        assert_eq!(bench.worker.breaker_cause(), Some("unavailable: the ledger is locked"));
        bench.pass(Duration::from_mins(1));
    }
    let (id, _) = bench.begin().unwrap();
    bench.handles(id);
    assert_eq!((bench.settled(), bench.is_open()), (vec![0], false));
}

#[test]
fn transient_errors_are_evidence_only_when_the_attempts_are_used_up_and_permanent_ones_never_are() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "b", "c"]);
    for _ in 0..6 {
        let (id, _) = bench.begin().unwrap();
        bench.answers(id, transient());
        assert!(!bench.is_open());
    }
    for _ in 0..3 {
        let (id, _) = bench.begin().unwrap();
        bench.answers(id, transient());
    }
    assert!(bench.is_open() && bench.letters().len() == 2, "the third one is spared");
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "b", "c", "d"]);
    for _ in 0..4 {
        let (id, _) = bench.begin().unwrap();
        bench.answers(id, Err(HandlerError::permanent("no")));
    }
    assert!(!bench.is_open() && bench.letters().len() == 4);
}

#[test]
fn a_call_at_its_deadline_is_cancelled_and_its_events_have_failed() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "b"]);
    let (slow, _) = bench.begin().unwrap();
    let next = bench.worker.next_timeout(&bench.now()).unwrap();
    assert!(next <= bench.now().instant + DEADLINE);
    bench.pass(DEADLINE);
    assert_eq!(bench.effects(), [Effect::Cancel(slow)]);
    bench.handles(slow);
    assert!(bench.settled().is_empty(), "its answer is not heard any more");
    let tried: Vec<_> = (0..2).map(|_| bench.begin().unwrap().1[0]).collect();
    assert!(tried.contains(&("a", 2)) && tried.contains(&("b", 1)), "{tried:?}");
}

#[test]
fn of_a_call_that_panics_with_many_events_no_attempt_counts_and_each_is_tried_alone() {
    let batches = WorkerPolicy { max_events_per_call: 10, max_calls: 1, ..policy() };
    let mut bench = Bench::new(batches);
    bench.arrive(["a", "b", "a", "c"]);
    let (id, events) = bench.begin().unwrap();
    assert_eq!(events.len(), 4);
    bench.panics(id);
    assert!(!bench.is_open() && bench.letters().is_empty());
    for _ in 0..4 {
        let (id, events) = bench.begin().unwrap();
        assert!(events.len() == 1 && events[0].1 == 1, "{events:?}");
        bench.handles(id);
    }
    let mut settled = bench.settled();
    settled.sort_unstable();
    assert_eq!(settled, [0, 1, 2, 3]);
}

#[test]
fn in_a_batch_what_is_behind_a_failed_event_of_its_key_waits_with_it() {
    let batches = WorkerPolicy { max_events_per_call: 10, max_calls: 1, ..policy() };
    let mut bench = Bench::new(batches);
    bench.arrive(["a", "b", "a"]);
    let (id, events) = bench.begin().unwrap();
    assert_eq!(events, [("a", 1), ("a", 1), ("b", 1)]);
    bench.end(id, CallEnd::Answered(Run::from_vec(vec![transient(), transient(), Ok(Done::Handled)])));
    assert_eq!(bench.settled(), [1]);
    let (id, events) = bench.begin().unwrap();
    assert_eq!(events, [("a", 2)], "alone, and first");
    bench.handles(id);
    assert_eq!(bench.begin().unwrap().1, [("a", 1)]);
}

#[test]
fn a_breaker_that_is_open_for_too_long_is_given_up_only_where_that_is_wanted() {
    for exit_after in [None, Some(Duration::from_secs(5))] {
        let policy = policy();
        let breaker = BreakerPolicy { exit_after, ..policy.breaker };
        let mut bench = Bench::new(WorkerPolicy { breaker, ..policy });
        bench.arrive(["a", "b", "c"]);
        bench.panic_at_all();
        bench.effects();
        bench.pass(Duration::from_hours(1));
        let gave_up = bench.effects().iter().any(|effect| matches!(effect, Effect::GaveUp { .. }));
        assert_eq!(
            (gave_up, bench.worker.state() == WorkerState::Failed),
            (exit_after.is_some(), exit_after.is_some())
        );
        assert!(bench.settled().is_empty());
    }
}

#[test]
fn a_panic_of_an_earlier_handlers_call_ends_the_present_one_not() {
    let mut bench = Bench::new(policy());
    bench.arrive(["a", "b"]);
    let (first, _) = bench.begin().unwrap();
    let (second, _) = bench.begin().unwrap();
    bench.panics(first);
    assert!(matches!(bench.effects()[..], [Effect::DropHandler { panicked: Some(_) }]));
    assert!(bench.worker.handler_made(), "in the place of another");
    bench.panics(second);
    assert!(bench.effects().is_empty());
}

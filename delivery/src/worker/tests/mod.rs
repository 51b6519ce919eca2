//! What a worker promises, shown on the worker itself, without a driver and without a clock.

mod attempts;
mod lanes;
mod moves;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::assignment::Assignment;
use crate::lease::Lease;
use crate::now::Now;
use crate::outcome::{Done, HandlerError, HandlerResult};
use crate::worker::breaker::BreakerPolicy;
use crate::worker::retry::RetryPolicy;
use crate::worker::{CallEnd, CallId, Effect, Id, Routed, Run, Wait, Worker, WorkerPolicy};

/// A record with its key and offset.
#[derive(Clone, Debug)]
struct Record {
    assignment: Arc<Assignment>,
    offset: i64,
    key: &'static str,
}

impl Routed for Record {
    fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        (!self.key.is_empty()).then_some(self.key.as_bytes())
    }
}

/// A worker, a lease that holds, and an assignment that is open.
struct Bench {
    worker: Worker<Record>,
    lease: Arc<Lease>,
    assignment: Arc<Assignment>,
    begin: Instant,
    now: Duration,
    next_offset: i64,
}

const DEADLINE: Duration = Duration::from_secs(10);

/// Three attempts with next to no pauses; three different keys open the breaker.
fn policy() -> WorkerPolicy {
    WorkerPolicy {
        retry: RetryPolicy {
            max_attempts: 3,
            first_backoff: Duration::from_nanos(2),
            max_backoff: Duration::from_nanos(2),
        },
        breaker: BreakerPolicy { keys: 3, max_interval: Duration::from_mins(1), exit_after: None },
        deadline: DEADLINE,
        ..WorkerPolicy::default()
    }
}

impl Bench {
    fn new(policy: WorkerPolicy) -> Self {
        let begin = Instant::now();
        let lease = Arc::new(Lease::new(begin));
        lease.renew(begin, begin + Duration::from_secs(1_000_000));
        let assignment = Arc::new(Assignment::new("t".into(), 0, 0, 1));
        let mut worker = Worker::new(policy, Arc::clone(&lease), 100, 7);
        assert!(!worker.handler_made(), "it is the first");
        Self { worker, lease, assignment, begin, now: Duration::from_secs(1), next_offset: 0 }
    }

    fn now(&self) -> Now {
        let ns = u64::try_from(self.now.as_nanos()).unwrap();
        Now { instant: self.begin + self.now, ns, wall_us: 1 + i64::try_from(ns / 1_000).unwrap() }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.worker.turn(&self.now());
    }

    /// A record of each of those keys arrives.
    fn arrive(&mut self, keys: impl IntoIterator<Item = &'static str>) {
        for key in keys {
            let record = Record { assignment: Arc::clone(&self.assignment), offset: self.next_offset, key };
            self.next_offset += 1;
            self.worker.arrive(record);
        }
    }

    /// The next call, with the keys of its events and the number of their attempts.
    fn begin(&mut self) -> Option<(CallId, Vec<(&'static str, u32)>)> {
        // Backoffs take nanoseconds.
        self.pass(Duration::from_micros(1));
        let now = self.now();
        if self.worker.wants_handler(&now) {
            self.worker.handler_made();
        }
        let mut events = Vec::new();
        let id = self.worker.begin(&now, |record, number| {
            events.push((record.key, number));
            Ok(())
        })?;
        Some((id, events))
    }

    fn end(&mut self, id: CallId, end: CallEnd) {
        let now = self.now();
        self.worker.call_ended(&now, id, end);
    }

    fn answers(&mut self, id: CallId, result: HandlerResult) {
        self.end(id, CallEnd::Answered(Run::from_buf([result])));
    }

    fn handles(&mut self, id: CallId) {
        self.answers(id, Ok(Done::Handled));
    }

    fn panics(&mut self, id: CallId) {
        self.end(id, CallEnd::Panicked("panicked".to_owned()));
    }

    /// Each call that can begin panics at once, until none can; gives how many.
    fn panic_at_all(&mut self) -> usize {
        let mut calls = 0;
        while let Some((id, _)) = self.begin() {
            calls += 1;
            assert!(calls < 1_000, "without end");
            self.panics(id);
        }
        calls
    }

    fn effects(&mut self) -> Vec<Effect> {
        self.worker.attempts_ended(|_| {});
        std::iter::from_fn(|| self.worker.next_effect()).collect()
    }

    /// The dead letters that have to be written now.
    fn letters(&mut self) -> Vec<(Id, Wait)> {
        let letters = self.effects().into_iter().filter_map(|effect| match effect {
            Effect::WriteDeadLetter(id, wait) => Some((id, wait)),
            _ => None,
        });
        letters.collect()
    }

    fn settled(&mut self) -> Vec<i64> {
        self.answered(true)
    }

    fn given_up(&mut self) -> Vec<i64> {
        self.answered(false)
    }

    fn answered(&mut self, settled: bool) -> Vec<i64> {
        let answers = self.worker.answers().extract_if(.., |answer: &mut Answer| answer.settled == settled);
        answers.map(|answer| answer.offset).collect()
    }

    fn is_open(&self) -> bool {
        self.worker.breaker_cause().is_some()
    }
}

fn transient() -> HandlerResult {
    Err(HandlerError::transient("busy"))
}

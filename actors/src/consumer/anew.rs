//! The poll loop after a panic of its own: whatever it was at may be half done, so it begins anew with nothing in hand.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Command;
use super::poll::PollLoop;
use super::room::RecordSize;
use crate::delivery::hold::PauseCause;
use crate::delivery::membership::Membership;
use crate::guard::{Panicked, dropped, guarded};
use crate::kafka::{Source, SourceError};
use crate::status::ConsumerState;

impl PollLoop {
    /// Ends all that it held and joins the group again, within the restart budget. What was in hand comes again, here or
    /// elsewhere. `None` where the thread is over: it was told to drain meanwhile, or there is no hope, which was raised.
    pub(super) fn anew(
        mut self,
        panicked: &Panicked,
        commands: &Receiver<Command>,
    ) -> Result<Option<Self>, SourceError> {
        let mut pause = self.parts.care.panicked(panicked);
        let now = Instant::now();
        // Nothing is started or finished before the new member has its partitions.
        self.parts.lease.renew(now);
        self.parts.lease.hold(false);
        for (_, assignment) in self.assignments.drain() {
            assignment.end();
        }
        // Before the lease is renewed: whoever acts under it looks for what has ended, also where no sweep has come.
        self.parts.lease.end_some();
        let config = &self.parts.config;
        self.intake = self.intake.anew(config.max_in_flight_records, config.max_in_flight_bytes);
        self.leaving.clear();
        self.watermarks.clear();
        (self.last, self.reachable, self.held, self.waits_for_the_group) = (None, None, false, false);
        self.record_size = RecordSize::default();
        self.batch = self.parts.pool.batch();
        self.pace.forget();
        self.note_pace.forget();
        self.sweep();
        self.state = ConsumerState::Joining;
        self.write_status();
        // The old member leaves before the new one joins. Its end changes nothing for the new one.
        let _ = dropped(self.source);
        let mut done = self.draining.and_then(|draining| draining.done);
        loop {
            let Some(after) = pause else {
                self.parts.board.set_state(ConsumerState::Failed);
                return Ok(None);
            };
            let until = Instant::now() + after;
            while done.is_none()
                && let Some(command) = next(commands, until)
            {
                match command {
                    Command::Drain { done: told, .. } => done = Some(told),
                    Command::PauseTopic { topic, paused, done } => {
                        self.intake.pause_topic(&topic, PauseCause::Operator, paused);
                        // Whoever told it may not have waited.
                        let _ = done.send(0);
                    }
                }
            }
            if let Some(done) = done {
                // It holds nothing, so it has drained.
                self.parts.board.set_state(ConsumerState::Stopped);
                let _ = done.send(());
                return Ok(None);
            }
            let topics: Vec<&str> = self.parts.routes.iter().map(|(topic, ..)| topic.as_str()).collect();
            pause = match guarded(|| Source::open(&self.parts.kafka, &topics, &self.parts.journal)) {
                Ok(Ok(source)) => {
                    self.parts.care.made(true);
                    // The handlers, who may have seen the lease end, are to be woken.
                    let membership = Membership::new(Instant::now());
                    return Ok(Some(Self { source, membership, draining: None, sweep_wanted: true, ..self }));
                }
                Ok(Err(error @ SourceError::Fenced)) => return Err(error),
                Ok(Err(error)) => self.parts.care.fell(&error.to_string(), None),
                Err(panicked) => self.parts.care.panicked(&panicked),
            };
        }
    }
}

/// The next command, waited for until then.
fn next(commands: &Receiver<Command>, until: Instant) -> Option<Command> {
    match commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(command) => Some(command),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            // Nobody is left to command it; the pause is a pause all the same.
            std::thread::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_secs(1)));
            None
        }
    }
}

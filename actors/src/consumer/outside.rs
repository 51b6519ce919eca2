//! The thread without a client: it holds nothing, and waits until a pause is over or an operator starts it. Meanwhile it
//! obeys.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::hold::pause_topic;
use super::poll::{PollLoop, Then};
use super::room::RecordSize;
use super::{Command, ConsumerParts};
use crate::guard::{dropped, guarded};
use crate::handler::Sweep;
use crate::kafka::SourceError;
use crate::status::{ActorState, ConsumerState};
use crate::supervisor::{Order, Verb};
use delivery::member::membership::{LEASE, Membership};

/// Orders of operators are looked for so often.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl PollLoop {
    /// Ends the client, and joins the group again with another one: at `back`, or where that is `None` when an operator
    /// starts it. What was still in hand comes again, here or elsewhere. `None` where the thread is over: it was told to
    /// drain meanwhile, or there is no hope, which was raised.
    pub(super) fn outside(
        mut self,
        mut back: Option<Instant>,
        then: Option<Then>,
        commands: &Receiver<Command>,
    ) -> Result<Option<Self>, SourceError> {
        self = self.let_go();
        self.state = if back.is_some() { ConsumerState::Joining } else { ConsumerState::Stopped };
        self.write_status();
        // The old member leaves before the new one joins. Its end changes nothing for the new one.
        let _ = dropped(self.source);
        let mut told = match then {
            Some(Then::End(done)) => {
                self.parts.end(done);
                return Ok(None);
            }
            Some(Then::JoinAgain(report)) => Some(report),
            Some(Then::StayOut(report)) => {
                report.done("left the group, and stays out of it until it is started");
                None
            }
            None => None,
        };
        if back.is_none() {
            self.parts.stand_stopped();
            // With the lease, below, the handlers are to be woken.
            self.sweep_wanted = true;
        }
        loop {
            let now = Instant::now();
            if back.is_none() {
                // Nothing is held. What waits in the handlers for something that is over is to find that out.
                self.parts.lease.renew(now, now + LEASE);
            }
            self.sweep_wanted = self.sweep_wanted && self.parts.sweep.try_send(Sweep).is_err();
            let look = now + LOOK_INTERVAL;
            match next(commands, back.map_or(look, |back| back.min(look))) {
                Some(Command::Drain { done, .. }) => {
                    self.parts.end(done);
                    return Ok(None);
                }
                Some(Command::PauseTopic { topic, paused, done }) => {
                    pause_topic(&mut self.intake, &self.parts.journal, &topic, paused, done);
                    continue;
                }
                None => {}
            }
            if let Some(Order { verb, report }) = self.parts.care.order() {
                if verb == Verb::Stop {
                    back = None;
                    self.parts.stand_stopped();
                    self.parts.board.set_state(ConsumerState::Stopped);
                    self.sweep_wanted = true;
                    if let Some(overtaken) = told.take() {
                        overtaken.failed("it was stopped before it joined again");
                    }
                    report.done("it was out of the group, and stays so until it is started");
                } else {
                    back = Some(now);
                    self.parts.actor.set_state(ActorState::Running);
                    self.parts.board.set_state(ConsumerState::Joining);
                    told = Some(report);
                }
            }
            if back.is_none_or(|back| Instant::now() < back) {
                continue;
            }
            let (cause, pause) = match guarded(|| self.parts.open_source()) {
                Ok(Ok(source)) => {
                    self.parts.care.made(true);
                    if let Some(report) = told {
                        report.done("joins the group with another client");
                    }
                    // The handlers, who may have seen the lease end, are to be woken.
                    let (membership, state) = (Membership::new(Instant::now()), ConsumerState::Joining);
                    return Ok(Some(Self { source, membership, state, sweep_wanted: true, ..self }));
                }
                Ok(Err(error @ SourceError::Fenced)) => return Err(error),
                Ok(Err(error)) => (error.to_string(), self.parts.care.fell(&error.to_string(), None)),
                Err(panicked) => (panicked.to_string(), self.parts.care.panicked(&panicked)),
            };
            if let Some(report) = told.take() {
                report.failed(&format!("another client could not be made: {cause}"));
            }
            let Some(after) = pause else {
                self.parts.board.set_state(ConsumerState::Failed);
                return Ok(None);
            };
            back = Some(Instant::now() + after);
        }
    }

    /// Holds nothing any more. Nothing is started or finished before the new member has its partitions.
    pub(super) fn let_go(mut self) -> Self {
        let now = Instant::now();
        self.parts.lease.end();
        self.parts.lease.hold(false);
        for (_, assignment) in self.assignments.drain() {
            assignment.end();
        }
        // Before the lease is renewed: whoever acts under it looks for what has ended, also where no sweep has come.
        self.parts.lease.changed();
        let config = &self.parts.config;
        self.intake = self.intake.anew(config.max_in_flight_records, config.max_in_flight_bytes);
        self.leaving.clear();
        self.watermarks.clear();
        (self.last, self.reachable, self.held, self.waits_for_the_group) = (None, None, false, false);
        self.record_size = RecordSize::default();
        self.batch = self.parts.pool.batch();
        self.pace.forget();
        self.note_pace.forget();
        self.watch_stalls(now);
        self.sweep();
        self
    }
}

impl ConsumerParts {
    /// The thread ends: it holds nothing, so it has drained.
    fn end(&self, done: oneshot::Sender<()>) {
        self.board.set_state(ConsumerState::Stopped);
        // Whoever told it may not have waited.
        let _ = done.send(());
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

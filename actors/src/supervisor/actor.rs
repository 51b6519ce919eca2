//! An actor under supervision: a panic in it costs a restart with fresh state; its address and its mailbox stay.
//!
//! actix's own `Supervisor` does not survive a panic. Here the actor's future is polled inside `catch_panic` and told to
//! restart, which cancels what the actor waited for, asks it for fresh state (`Supervised::restarting`) and starts it
//! again. The message in flight is gone with the panic: an actor keeps what must not be lost where its next self finds it.
//!
//! An operator may stop it: then it is not polled, and what feeds it waits at its mailbox.

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use actix::dev::ContextFut;
use actix::{Actor, Addr, Context, Supervised};
use tokio::time::{Sleep, sleep};

use super::{PendingCommand, Restarts, Verb};
use crate::catch_panic::{Panicked, catch_panic, dropped};

/// Starts an actor on the current arbiter, under supervision.
pub(crate) fn supervise<A: Supervised + Actor<Context = Context<A>>>(actor: A, restarts: Restarts) -> Addr<A> {
    let context = Context::new();
    let future = context.into_future(actor);
    let address = future.address();
    restarts.made(false);
    actix::spawn(Kept {
        actor: Some(future),
        restarts,
        pause: None,
        needs_restart: false,
        stopped: false,
        given_up: false,
    });
    address
}

/// The future of an actor that is kept alive.
struct Kept<A: Actor<Context = Context<A>>> {
    /// Gone when the actor has ended.
    actor: Option<ContextFut<A, Context<A>>>,
    restarts: Restarts,
    /// It is not started again before that is over.
    pause: Option<Pin<Box<Sleep>>>,
    /// It has to be started again.
    needs_restart: bool,
    /// An operator stopped it, and none has started it since.
    stopped: bool,
    /// It is never started again, whatever wakes it.
    given_up: bool,
}

impl<A: Supervised + Actor<Context = Context<A>>> Kept<A> {
    /// Starts it again where it has to be; false where no one has its address any more.
    fn revive(&mut self) -> Result<bool, Panicked> {
        let Some(actor) = self.actor.as_mut().filter(|_| self.needs_restart) else { return Ok(true) };
        // What it waited for, and its old state, may panic where they are dropped; then it is told once more.
        let restarted = catch_panic(|| actor.restart())?;
        self.needs_restart = false;
        self.restarts.made(true);
        Ok(restarted)
    }

    fn turn(&mut self, cx: &mut task::Context<'_>) -> Result<Poll<()>, Panicked> {
        if !self.revive()? {
            return Ok(Poll::Ready(()));
        }
        let Some(actor) = &mut self.actor else { return Ok(Poll::Ready(())) };
        catch_panic(|| Pin::new(actor).poll(cx))
    }
}

impl<A: Supervised + Actor<Context = Context<A>>> Future for Kept<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut told = None;
        loop {
            let command = this.restarts.next_command(cx);
            if this.given_up {
                if let Some(PendingCommand { report, .. }) = command {
                    report.failed("it does not come back");
                }
                return Poll::Pending;
            }
            if let Some(PendingCommand { verb, report }) = command {
                // At once, and with no failure behind it.
                (this.pause, this.needs_restart, this.stopped) = (None, true, verb == Verb::Stop);
                if this.stopped {
                    this.restarts.stopped();
                    report.done("stopped; what comes for it waits");
                    continue;
                }
                told = Some(report);
            }
            if this.stopped {
                return Poll::Pending;
            }
            if this.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
            this.pause = None;
            match this.turn(cx) {
                Ok(Poll::Pending) => {
                    let Some(report) = told.take() else {
                        this.restarts.forgive_when_due();
                        return Poll::Pending;
                    };
                    report.done("restarted");
                }
                Ok(Poll::Ready(())) => return Poll::Ready(()),
                Err(panicked) => {
                    this.needs_restart = true;
                    if let Some(report) = told.take() {
                        report.failed(&format!("it panicked, and is restarted again: {panicked}"));
                    }
                    match this.restarts.panicked(&panicked) {
                        Some(after) if after.is_zero() => {}
                        Some(after) => this.pause = Some(Box::pin(sleep(after))),
                        // Its mailbox stays, so that what feeds it waits until the service has ended.
                        None => this.given_up = true,
                    }
                }
            }
        }
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Kept<A> {
    fn drop(&mut self) {
        // Its end may panic too, and no one is left to be told.
        let _ = dropped(self.actor.take());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use actix::{AsyncContext as _, Handler, Message};

    use super::*;
    use crate::fatal::Fatal;
    use crate::journal::Journal;
    use crate::status::{ActorState, Vitals};
    use crate::supervisor::{Commands, Requester};
    use delivery::restart_budget::RestartPolicy;

    /// Where an actor should panic.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum In {
        Nothing,
        Message,
        Started,
        Timer,
        Wait,
        ItsOwnDrop,
        TheDropOfWhatItWaitsFor,
    }

    /// Counts what it is told; how often it should panic is shared by all of its selves.
    struct Counts {
        told: u32,
        panics: Rc<Cell<(In, u32)>>,
        begun: Rc<Cell<u32>>,
    }

    impl Counts {
        fn fresh(panics: &Rc<Cell<(In, u32)>>, begun: &Rc<Cell<u32>>) -> Self {
            Self { told: 0, panics: Rc::clone(panics), begun: Rc::clone(begun) }
        }

        fn panics_in(&self, place: In) {
            panics_in(&self.panics, place);
        }
    }

    fn panics_in(panics: &Cell<(In, u32)>, place: In) {
        let (wanted, times) = panics.get();
        if wanted == place && times > 0 {
            panics.set((wanted, times - 1));
            panic!("in {place:?}");
        }
    }

    impl Drop for Counts {
        fn drop(&mut self) {
            self.panics_in(In::ItsOwnDrop);
        }
    }

    /// Panics when it is dropped.
    struct Brittle(Rc<Cell<(In, u32)>>);

    impl Drop for Brittle {
        fn drop(&mut self) {
            panics_in(&self.0, In::TheDropOfWhatItWaitsFor);
        }
    }

    impl Actor for Counts {
        type Context = Context<Self>;

        fn started(&mut self, _: &mut Self::Context) {
            self.begun.set(self.begun.get() + 1);
            self.panics_in(In::Started);
        }
    }

    impl Supervised for Counts {
        fn restarting(&mut self, _: &mut Self::Context) {
            *self = Self::fresh(&self.panics, &self.begun);
        }
    }

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Tell;

    impl Handler<Tell> for Counts {
        type Result = u32;

        fn handle(&mut self, _: Tell, _: &mut Self::Context) -> u32 {
            self.told += 1;
            self.told
        }
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic(In, u32);

    impl Handler<Panic> for Counts {
        type Result = ();

        fn handle(&mut self, Panic(place, times): Panic, ctx: &mut Self::Context) {
            self.panics.set((place, times));
            ctx.run_later(Duration::ZERO, |actor, _| actor.panics_in(In::Timer));
            match place {
                In::Timer | In::Nothing => {}
                In::Wait => ctx.wait(actix::fut::wrap_future(std::future::ready(())).map_panicking()),
                In::TheDropOfWhatItWaitsFor => {
                    let brittle = Brittle(Rc::clone(&self.panics));
                    let waits = async move {
                        std::future::pending::<()>().await;
                        drop(brittle);
                    };
                    ctx.spawn(actix::fut::wrap_future(waits));
                    panic!("while it waits for something brittle");
                }
                In::Message => self.panics_in(In::Message),
                In::Started | In::ItsOwnDrop => panic!("and again in {place:?}"),
            }
        }
    }

    trait MapPanicking: actix::fut::ActorFuture<Counts, Output = ()> + Sized {
        fn map_panicking(self) -> impl actix::fut::ActorFuture<Counts, Output = ()> {
            use actix::fut::ActorFutureExt as _;
            self.map(|(), actor: &mut Counts, _| actor.panics_in(In::Wait))
        }
    }

    impl<F: actix::fut::ActorFuture<Counts, Output = ()>> MapPanicking for F {}

    struct World {
        address: Addr<Counts>,
        vitals: Arc<Vitals>,
        fatal: Fatal,
        begun: Rc<Cell<u32>>,
    }

    fn world(policy: RestartPolicy) -> World {
        let vitals = Arc::new(Vitals::new("counts".to_owned(), policy.window));
        let (fatal, panics, begun) = (Fatal::default(), Rc::new(Cell::new((In::Nothing, 0))), Rc::default());
        let restarts = Restarts::new(Arc::clone(&vitals), policy, Journal::new("test"), fatal.clone());
        World { address: supervise(Counts::fresh(&panics, &begun), restarts), vitals, fatal, begun }
    }

    async fn until(mut reached: impl FnMut() -> bool) {
        let began = std::time::Instant::now();
        while !reached() {
            assert!(began.elapsed() < Duration::from_mins(1));
            tokio::task::yield_now().await;
        }
    }

    const QUICK: RestartPolicy = RestartPolicy {
        max_restarts: 5,
        window: Duration::from_secs(30),
        first_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(2),
        max_probes: 2,
    };

    #[test]
    fn wherever_it_panics_its_address_and_its_mailbox_stay_and_its_state_is_fresh() {
        actix::System::new().block_on(async {
            let places = [In::Message, In::Started, In::Timer, In::Wait, In::ItsOwnDrop, In::TheDropOfWhatItWaitsFor];
            for place in places {
                let World { address, vitals, begun, .. } = world(QUICK);
                assert_eq!((address.send(Tell).await, address.send(Tell).await), (Ok(1), Ok(2)));
                let panicked = address.send(Panic(place, 1));
                let more: Vec<_> = (0..3).map(|_| address.send(Tell)).collect();
                let _ = panicked.await;
                until(|| vitals.status().restarts > 0).await;
                for told in more {
                    assert!(told.await.is_ok(), "what was in the mailbox is handled, after {place:?}");
                }
                let before = address.send(Tell).await.unwrap();
                assert!(before <= 4, "fresh state after {place:?}: {before}");
                assert!(address.connected() && begun.get() >= 2);
                assert_eq!(vitals.state(), ActorState::Running, "{place:?}");
                let last = vitals.status().last_failure.unwrap();
                assert!(last.place.unwrap().contains("supervisor/actor.rs"));
            }
        });
    }

    #[test]
    fn one_that_an_operator_stopped_takes_nothing_and_goes_on_with_fresh_state_when_one_starts_it() {
        actix::System::new().block_on(async {
            let (journal, panics) = (Journal::new("test"), Rc::new(Cell::new((In::Nothing, 0))));
            let vitals = Arc::new(Vitals::new("counts".to_owned(), QUICK.window));
            let commands = Commands::new(journal.clone());
            let restarts = Restarts::new(Arc::clone(&vitals), QUICK, journal, Fatal::default()).obeying(&commands);
            let address = supervise(Counts::fresh(&panics, &Rc::default()), restarts);
            let give = |verb| commands.give(&vitals, verb, Requester { address: None, name: None }).map(drop);
            assert_eq!(address.send(Tell).await, Ok(1));
            give(Verb::Stop).unwrap();
            until(|| vitals.state() == ActorState::StoppedByOperator).await;
            let waits = address.send(Tell);
            let told = tokio::time::timeout(Duration::from_millis(10), waits).await;
            assert!(told.is_err(), "what feeds it waits");
            let [mut one, other] = [(); 2].map(|()| Box::pin(address.send(Tell)));
            assert!(tokio::time::timeout(Duration::from_millis(10), &mut one).await.is_err());
            assert!(give(Verb::Stop).is_err() && give(Verb::Restart).is_err());
            give(Verb::Start).unwrap();
            // What no one waits for any more is left out.
            assert_eq!((one.await, other.await, vitals.state()), (Ok(1), Ok(2), ActorState::Running));
            give(Verb::Restart).unwrap();
            until(|| vitals.status().restarts == 2).await;
            assert_eq!(address.send(Tell).await, Ok(1));
        });
    }

    #[test]
    fn a_start_that_always_fails_backs_off_is_probed_and_is_given_up_with_its_mailbox_kept() {
        actix::System::new().block_on(async {
            let World { address, vitals, fatal, begun } = world(QUICK);
            let _ = address.send(Panic(In::Started, u32::MAX)).await;
            let waits = address.send(Tell);
            let cause = fatal.wait().await;
            assert!(cause.message.starts_with("counts does not come back: panicked at"), "{}", cause.message);
            assert_eq!((vitals.state(), cause.exit_code), (ActorState::Failed, crate::fatal::EXIT_SOFTWARE));
            // Five restarts, and two probes; and the start before them.
            assert_eq!((vitals.status().restarts, begun.get()), (5 + 2, 1 + 5 + 2));
            assert!(address.connected());
            let waits = tokio::time::timeout(Duration::from_millis(10), waits).await;
            assert!(waits.is_err(), "what feeds it waits");
        });
    }

    #[test]
    fn an_actor_whose_address_no_one_has_ends() {
        actix::System::new().block_on(async {
            let World { address, begun, .. } = world(QUICK);
            address.send(Tell).await.unwrap();
            drop(address);
            until(|| Rc::strong_count(&begun) == 1).await;
        });
    }
}

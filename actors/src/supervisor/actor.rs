//! An actor under supervision: a panic in it costs a restart with fresh state; its address and its mailbox stay.
//!
//! actix's own `Supervisor` does not survive a panic. Here the actor's future is polled inside the guard and told to
//! restart, which cancels what the actor waited for, asks it for fresh state (`Supervised::restarting`) and starts it
//! again. The message in hand is gone with the panic: an actor keeps what must not be lost where its next self finds it.

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use actix::dev::ContextFut;
use actix::{Actor, Addr, Context, Supervised};
use tokio::time::{Sleep, sleep};

use super::Care;
use crate::guard::{Panicked, dropped, guarded};

/// Starts an actor on the current arbiter, under supervision.
pub(crate) fn supervise<A: Supervised + Actor<Context = Context<A>>>(actor: A, care: Care) -> Addr<A> {
    let context = Context::new();
    let future = context.into_future(actor);
    let address = future.address();
    care.made(false);
    actix::spawn(Kept { actor: Some(future), care, pause: None, fallen: false });
    address
}

/// The future of an actor that is kept alive.
struct Kept<A: Actor<Context = Context<A>>> {
    /// Gone when the actor has ended.
    actor: Option<ContextFut<A, Context<A>>>,
    care: Care,
    /// It is not started again before that is over.
    pause: Option<Pin<Box<Sleep>>>,
    /// It is to be started again.
    fallen: bool,
}

impl<A: Supervised + Actor<Context = Context<A>>> Kept<A> {
    /// Starts it again where it fell; false where nobody has its address any more.
    fn revive(&mut self) -> Result<bool, Panicked> {
        let Some(actor) = self.actor.as_mut().filter(|_| self.fallen) else { return Ok(true) };
        // What it waited for, and its old state, may panic where they are dropped; then it is told once more.
        let restarted = guarded(|| actor.restart())?;
        self.fallen = false;
        self.care.made(true);
        Ok(restarted)
    }

    fn turn(&mut self, cx: &mut task::Context<'_>) -> Result<Poll<()>, Panicked> {
        if !self.revive()? {
            return Ok(Poll::Ready(()));
        }
        let Some(actor) = &mut self.actor else { return Ok(Poll::Ready(())) };
        guarded(|| Pin::new(actor).poll(cx))
    }
}

impl<A: Supervised + Actor<Context = Context<A>>> Future for Kept<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if this.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
            this.pause = None;
            match this.turn(cx) {
                Ok(Poll::Pending) => {
                    this.care.look();
                    return Poll::Pending;
                }
                Ok(Poll::Ready(())) => return Poll::Ready(()),
                Err(panicked) => {
                    this.fallen = true;
                    match this.care.panicked(&panicked) {
                        Some(after) if after.is_zero() => {}
                        Some(after) => this.pause = Some(Box::pin(sleep(after))),
                        // Its mailbox stays, so that whoever feeds it waits until the service has ended.
                        None => return Poll::Pending,
                    }
                }
            }
        }
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Kept<A> {
    fn drop(&mut self) {
        // Its end may panic too, and nobody is left to be told.
        let _ = dropped(self.actor.take());
    }
}

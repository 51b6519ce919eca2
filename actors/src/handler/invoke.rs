//! The two kinds of handlers behind one face: how many events a run has, how many runs there are at once, and the call.

use std::future::Future;
use std::rc::Rc;

use smallvec::smallvec;

use super::{BatchHandler, Handler};
use crate::catch_panic::{Panicked, catch_panics_in};
use crate::event::{Contract, Event};
use delivery::outcome::{HandlerError, HandlerResult};
pub(crate) use delivery::worker::Run;

/// A handler as its actor sees it.
pub(crate) trait Invoke: 'static {
    /// The contract it handles.
    type Event: Contract;
    /// Events in one call.
    const MAX_EVENTS_PER_RUN: usize;
    /// Calls at once, where the limit of lanes allows.
    const MAX_RUNS: usize;

    /// Answers for each event, in order.
    fn invoke(&self, events: &[Event<Self::Event>]) -> impl Future<Output = Run<HandlerResult>>;
}

/// A [`Handler`].
pub(crate) struct Each<H>(pub(crate) H);

impl<H: Handler> Invoke for Each<H> {
    type Event = H::Event;
    const MAX_EVENTS_PER_RUN: usize = 1;
    const MAX_RUNS: usize = usize::MAX;

    async fn invoke(&self, events: &[Event<Self::Event>]) -> Run<HandlerResult> {
        if let [event] = events {
            return Run::from_buf([self.0.handle(event).await]);
        }
        let mut results = Run::with_capacity(events.len());
        for event in events {
            results.push(self.0.handle(event).await);
        }
        results
    }
}

/// A [`BatchHandler`].
pub(crate) struct InBatches<H>(pub(crate) H);

impl<H: BatchHandler> Invoke for InBatches<H> {
    type Event = H::Event;
    /// A transaction's cost is spread over so many that more gains nothing.
    const MAX_EVENTS_PER_RUN: usize = 512;
    const MAX_RUNS: usize = 1;

    async fn invoke(&self, events: &[Event<Self::Event>]) -> Run<HandlerResult> {
        let results = self.0.handle_batch(events).await;
        if results.len() == events.len() {
            return results.into();
        }
        let wrong = format!("the handler gave {} answers for {} events", results.len(), events.len());
        smallvec![Err(HandlerError::permanent(wrong)); events.len()]
    }
}

/// What a call to the handler gave: its answers, or its panic.
pub(super) type Called = Result<Run<HandlerResult>, Panicked>;

/// Calls the handler; a panic in it ends here, and so does one in the `Drop` of what it was called with.
// Not itself `async`, which would move the events once more.
pub(super) fn call<I: Invoke>(handler: Rc<I>, events: Run<Event<I::Event>>) -> impl Future<Output = Called> {
    catch_panics_in(async move {
        let results = handler.invoke(&events).await;
        drop(events);
        results
    })
}

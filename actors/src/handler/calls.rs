//! How are calls of a handler polled? Futures of one type run concurrently, each with its name, until they are done or
//! cancelled. Each is polled at once when it is added, so that one that is ready without waiting costs neither an allocation
//! nor a wake-up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::catch_panic::dropped;

/// Futures made by `make` from an input, and polled until they are done or cancelled.
pub(super) struct Calls<M, K, F: Future> {
    make: M,
    /// A future's memory that the next one uses again.
    spare: Option<Pin<Box<F>>>,
    waiting: FuturesUnordered<Waiting<K, F>>,
}

/// [`Calls`] without the types that cannot be named. `K` names a call.
pub(super) trait Polled<K, I, O> {
    /// Begins one; gives its output when it is ready at once.
    fn begin(&mut self, name: K, input: I, cx: &mut Context<'_>) -> Option<O>;
    /// The output of one that waited, if one is ready.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<(K, O)>;
    /// Drops the call of that name where it waits.
    fn cancel(&mut self, name: &K);
    /// Drops all of them.
    fn clear(&mut self);
}

/// A call that waits.
struct Waiting<K, F> {
    name: K,
    /// None where it was cancelled.
    future: Option<Pin<Box<F>>>,
    /// Has it polled once more, so that it goes when it was cancelled.
    waker: Option<Waker>,
}

impl<K: Copy + Unpin, F: Future> Future for Waiting<K, F> {
    type Output = Option<(K, F::Output)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else { return Poll::Ready(None) };
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some((self.name, output)));
        }
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<M, K, F: Future> Calls<M, K, F> {
    pub(super) fn new<I>(make: M) -> Self
    where
        M: Fn(I) -> F,
    {
        Self { make, spare: None, waiting: FuturesUnordered::new() }
    }
}

impl<K: Copy + PartialEq + Unpin, I, O, M: Fn(I) -> F, F: Future<Output = O>> Polled<K, I, O> for Calls<M, K, F> {
    fn begin(&mut self, name: K, input: I, cx: &mut Context<'_>) -> Option<O> {
        let future = (self.make)(input);
        let mut place = match self.spare.take() {
            None => Box::pin(future),
            Some(mut place) => {
                place.set(future);
                place
            }
        };
        if let Poll::Ready(output) = place.as_mut().poll(cx) {
            // The finished future stays in its place until the next one takes it: it holds nothing any more.
            self.spare = Some(place);
            Some(output)
        } else {
            self.waiting.push(Waiting { name, future: Some(place), waker: None });
            None
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Option<(K, O)> {
        loop {
            match self.waiting.poll_next_unpin(cx) {
                Poll::Ready(Some(None)) => {}
                Poll::Ready(output) => return output.flatten(),
                Poll::Pending => return None,
            }
        }
    }

    fn cancel(&mut self, name: &K) {
        let Some(call) = self.waiting.iter_mut().find(|call| call.name == *name) else { return };
        // It has failed in any case, whatever the `Drop` of what it held says.
        let _ = dropped(call.future.take());
        if let Some(waker) = call.waker.take() {
            waker.wake();
        }
    }

    fn clear(&mut self) {
        for mut call in std::mem::take(&mut self.waiting) {
            let _ = dropped(call.future.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    type Gate = Option<oneshot::Receiver<()>>;

    fn calls() -> impl Polled<u32, Gate, &'static str> {
        Calls::new(|gate: Gate| async move {
            if let Some(gate) = gate {
                gate.await.unwrap();
            }
            "done"
        })
    }

    #[test]
    fn what_is_ready_comes_at_once_and_the_rest_when_it_is() {
        let mut calls = calls();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(calls.begin(1, None, &mut cx), Some("done"));
        let (open, gate) = oneshot::channel();
        assert_eq!(calls.begin(2, Some(gate), &mut cx), None);
        assert_eq!((calls.begin(3, None, &mut cx), calls.next(&mut cx)), (Some("done"), None));
        open.send(()).unwrap();
        assert_eq!((calls.next(&mut cx), calls.next(&mut cx)), (Some((2, "done")), None));
    }

    #[test]
    fn a_cancelled_call_is_dropped_at_once_while_the_others_go_on() {
        let mut calls = calls();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut one, gate) = oneshot::channel();
        assert_eq!(calls.begin(1, Some(gate), &mut cx), None);
        let (other, gate) = oneshot::channel();
        assert_eq!(calls.begin(2, Some(gate), &mut cx), None);
        calls.cancel(&1);
        assert!(one.poll_closed(&mut cx).is_ready(), "its future is gone");
        assert_eq!(calls.next(&mut cx), None);
        other.send(()).unwrap();
        assert_eq!((calls.next(&mut cx), calls.next(&mut cx)), (Some((2, "done")), None));
        let (mut three, gate) = oneshot::channel();
        assert_eq!(calls.begin(3, Some(gate), &mut cx), None);
        calls.clear();
        assert!(three.poll_closed(&mut cx).is_ready());
    }
}

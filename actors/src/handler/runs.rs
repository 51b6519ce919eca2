//! Runs futures of one type concurrently, each beside what it works on, so that this is seen while it runs and comes back
//! when the run is cancelled. Each is polled at once when it is added, so that one that is ready without waiting costs
//! neither an allocation nor a wake-up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::guard::dropped;

/// Futures made by `make` from an input, and polled until they are done or cancelled.
pub(super) struct Runs<M, K, F: Future> {
    make: M,
    /// A future's memory that the next one uses again.
    spare: Option<Pin<Box<F>>>,
    waiting: FuturesUnordered<Waiting<K, F>>,
    /// Outputs that were given back.
    done: Vec<(K, F::Output)>,
}

/// [`Runs`] without the types that cannot be named. `K` is what a run works on.
pub(super) trait Running<K, I, O> {
    /// Begins one; gives its output when it is ready at once, and takes what it works on when it is not.
    fn begin(&mut self, kept: &mut Option<K>, input: I, cx: &mut Context<'_>) -> Option<O>;
    /// The output of one that waited, if one is ready.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<(K, O)>;
    /// Keeps an output for which it is not the time: `next` gives it again, unless its run is cancelled first.
    fn give_back(&mut self, kept: K, output: O);
    /// How many wait.
    fn waiting(&self) -> usize;
    /// What those work on that wait.
    fn kept(&self) -> Box<dyn Iterator<Item = &K> + '_>;
    /// Drops the runs that `gone` names where they wait, or what they gave, and gives back what they worked on.
    fn cancel(&mut self, gone: &mut dyn FnMut(&K) -> bool) -> Vec<K>;
}

/// A run that waits.
struct Waiting<K, F> {
    /// Taken out when the future is done.
    kept: Option<K>,
    future: Pin<Box<F>>,
}

impl<K: Unpin, F: Future> Future for Waiting<K, F> {
    type Output = Option<(K, F::Output)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let output = std::task::ready!(self.future.as_mut().poll(cx));
        Poll::Ready(self.kept.take().map(|kept| (kept, output)))
    }
}

impl<M, K, F: Future> Runs<M, K, F> {
    pub(super) fn new<I>(make: M) -> Self
    where
        M: Fn(I) -> F,
    {
        Self { make, spare: None, waiting: FuturesUnordered::new(), done: Vec::new() }
    }
}

impl<K: Unpin, I, O, M: Fn(I) -> F, F: Future<Output = O>> Running<K, I, O> for Runs<M, K, F> {
    fn begin(&mut self, kept: &mut Option<K>, input: I, cx: &mut Context<'_>) -> Option<O> {
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
            self.waiting.push(Waiting { kept: kept.take(), future: place });
            None
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Option<(K, O)> {
        if let Some(done) = self.done.pop() {
            return Some(done);
        }
        match self.waiting.poll_next_unpin(cx) {
            Poll::Ready(output) => output.flatten(),
            Poll::Pending => None,
        }
    }

    fn give_back(&mut self, kept: K, output: O) {
        self.done.push((kept, output));
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn kept(&self) -> Box<dyn Iterator<Item = &K> + '_> {
        Box::new(self.waiting.iter().filter_map(|run| run.kept.as_ref()))
    }

    fn cancel(&mut self, gone: &mut dyn FnMut(&K) -> bool) -> Vec<K> {
        let mut cancelled: Vec<K> = self.done.extract_if(.., |(kept, _)| gone(kept)).map(|(kept, _)| kept).collect();
        if !self.waiting.iter().any(|run| run.kept.as_ref().is_some_and(&mut *gone)) {
            return cancelled;
        }
        // Those that stay are polled once more, which costs nothing that matters: this is rare.
        for mut run in std::mem::take(&mut self.waiting) {
            match run.kept.take_if(|kept| gone(kept)) {
                Some(kept) => {
                    cancelled.push(kept);
                    // What was cancelled has failed in any case, whatever the `Drop` of what it held says.
                    let _ = dropped(run);
                }
                None => self.waiting.push(run),
            }
        }
        cancelled
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    type Gate = Option<oneshot::Receiver<()>>;

    fn runs() -> impl Running<u32, Gate, &'static str> {
        Runs::new(|gate: Gate| async move {
            if let Some(gate) = gate {
                gate.await.unwrap();
            }
            "done"
        })
    }

    #[test]
    fn what_is_ready_comes_at_once_and_the_rest_when_it_is() {
        let mut runs = runs();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut one, mut two, mut three) = (Some(1), Some(2), Some(3));
        assert_eq!((runs.begin(&mut one, None, &mut cx), one), (Some("done"), Some(1)));
        let (open, gate) = oneshot::channel();
        assert_eq!((runs.begin(&mut two, Some(gate), &mut cx), two), (None, None));
        let third = runs.begin(&mut three, None, &mut cx);
        assert_eq!((third, runs.next(&mut cx), runs.waiting()), (Some("done"), None, 1));
        open.send(()).unwrap();
        assert_eq!((runs.next(&mut cx), runs.waiting()), (Some((2, "done")), 0));
    }

    #[test]
    fn a_cancelled_run_is_dropped_and_what_it_worked_on_comes_back_while_the_others_go_on() {
        let mut runs = runs();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut one, gate) = oneshot::channel();
        assert_eq!(runs.begin(&mut Some(1), Some(gate), &mut cx), None);
        let (other, gate) = oneshot::channel();
        assert_eq!(runs.begin(&mut Some(2), Some(gate), &mut cx), None);
        assert_eq!(runs.kept().copied().sum::<u32>(), 3);
        assert_eq!(runs.cancel(&mut |kept| *kept == 1), [1]);
        assert!(one.poll_closed(&mut cx).is_ready(), "its future is gone");
        assert_eq!((runs.next(&mut cx), runs.waiting()), (None, 1));
        other.send(()).unwrap();
        assert_eq!(runs.next(&mut cx), Some((2, "done")));
    }

    #[test]
    fn an_output_that_is_given_back_comes_again_unless_its_run_is_cancelled() {
        let mut runs = runs();
        let mut cx = Context::from_waker(Waker::noop());
        runs.give_back(1, "done");
        runs.give_back(2, "done");
        assert_eq!(runs.cancel(&mut |kept| *kept == 1), [1]);
        assert_eq!((runs.next(&mut cx), runs.next(&mut cx)), (Some((2, "done")), None));
    }
}

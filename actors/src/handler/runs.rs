//! Runs futures of one type concurrently. Each is polled at once when it is added, so that one that is ready without
//! waiting costs neither an allocation nor a wake-up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

/// Futures made by `make` from `I`, and polled until they are done.
pub(super) struct Runs<M, F: Future> {
    make: M,
    /// A future's memory that the next one uses again.
    spare: Option<Pin<Box<F>>>,
    waiting: FuturesUnordered<Pin<Box<F>>>,
}

/// [`Runs`] without the types that cannot be named.
pub(super) trait Running<I, O> {
    /// Begins one; gives its output when it is ready at once.
    fn begin(&mut self, input: I, cx: &mut Context<'_>) -> Option<O>;
    /// The output of one that waited, if one is ready.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<O>;
    /// How many wait.
    fn waiting(&self) -> usize;
}

impl<M, F: Future> Runs<M, F> {
    pub(super) fn new<I>(make: M) -> Self
    where
        M: Fn(I) -> F,
    {
        Self { make, spare: None, waiting: FuturesUnordered::new() }
    }
}

impl<I, O, M: Fn(I) -> F, F: Future<Output = O>> Running<I, O> for Runs<M, F> {
    fn begin(&mut self, input: I, cx: &mut Context<'_>) -> Option<O> {
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
            self.waiting.push(place);
            None
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Option<O> {
        match self.waiting.poll_next_unpin(cx) {
            Poll::Ready(output) => output,
            Poll::Pending => None,
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn what_is_ready_comes_at_once_and_the_rest_when_it_is() {
        let mut runs = Runs::new(|input: (u32, Option<oneshot::Receiver<()>>)| async move {
            if let Some(gate) = input.1 {
                gate.await.unwrap();
            }
            input.0
        });
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(runs.begin((1, None), &mut cx), Some(1));
        let (open, gate) = oneshot::channel();
        assert_eq!(runs.begin((2, Some(gate)), &mut cx), None);
        assert_eq!((runs.begin((3, None), &mut cx), runs.next(&mut cx), runs.waiting()), (Some(3), None, 1));
        open.send(()).unwrap();
        assert_eq!((runs.next(&mut cx), runs.waiting()), (Some(2), 0));
    }
}

//! What if this code panics? It is run inside `catch_panic`, and a panic becomes a value that says what happened and where.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// What it said.
    pub message: String,
    /// File, line and column, as the compiler knows them.
    pub place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Counts how deep a thread is inside `catch_panic`; also down again when one is left by a panic.
struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Runs it, and catches its panic.
///
/// What it worked on may be half done afterwards: the caller throws that away, or knows that it is not.
///
/// # Errors
/// The panic.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    remember_places();
    let inside = Inside::enter();
    let done = catch_unwind(AssertUnwindSafe(work));
    drop(inside);
    done.map_err(|panic| Panicked { message: message_of(&*panic), place: PLACE.take() })
}

/// Drops it, and catches what that throws.
///
/// # Errors
/// The panic.
pub fn dropped<T>(value: T) -> Result<(), Panicked> {
    catch_panic(|| drop(value))
}

pin_project! {
    /// A future whose every poll catches panics.
    pub struct CatchPanic<F> {
        #[pin]
        future: F,
    }
}

/// Catches the panics of a future. After one it must not be polled again. An `async` block drops what it holds while
/// it is polled for the last time, so that this is caught too; to drop it before its end is not: see [`dropped`].
pub fn catch_panics_in<F: Future>(future: F) -> CatchPanic<F> {
    CatchPanic { future }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_panic(|| self.project().future.poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panicked) => Poll::Ready(Err(panicked)),
        }
    }
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

/// A panic's place is known to the hook only. One that is caught here is told by the journal, and nothing else prints it;
/// all others are printed as ever.
fn remember_places() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // A thread that is ending has no such values any more: then nothing is caught either.
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                return before(info);
            }
            let place = info.location().map(ToString::to_string);
            // Borrowed only by this function and by `take`, neither of which panics.
            let _ = PLACE.try_with(|known| known.replace(place));
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message_and_its_place() {
        let panicked = catch_panic(|| panic!("one {}", 1)).unwrap_err();
        assert_eq!(panicked.message, "one 1");
        let place = panicked.place.as_ref().unwrap();
        assert!(place.starts_with(file!()), "{place}");
        assert_eq!(panicked.to_string(), format!("panicked at {place}: one 1"));
        assert_eq!(catch_panic(|| 2), Ok(2));
    }

    #[test]
    fn a_panic_in_a_drop_is_caught_too() {
        struct Brittle;
        impl Drop for Brittle {
            fn drop(&mut self) {
                panic!("when dropped");
            }
        }
        assert_eq!(dropped(Brittle).unwrap_err().message, "when dropped");
    }

    #[test]
    fn the_panics_of_a_future_are_caught_at_every_poll_and_at_its_end() {
        let later = catch_panics_in(async {
            tokio::task::yield_now().await;
            panic!("later");
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(later).unwrap_err().message, "later");
        assert_eq!(runtime.block_on(catch_panics_in(async { 3 })), Ok(3));
    }
}

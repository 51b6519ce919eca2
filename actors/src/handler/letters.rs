//! How does a dead letter get to the broker? One attempt at a time; the worker says when the next is made.

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::task::{Context, Poll};

use delivery::worker::{Id, Letter, Wait};
use jiff::Timestamp;

use super::entry::Entry;
use crate::dead_letter::{Cause, dead_letter};
use crate::kafka::PublishError;
use crate::producer::Producer;

/// What became of an attempt to write one.
pub(super) struct Written {
    pub(super) id: Id,
    pub(super) wait: Wait,
    pub(super) result: Result<(), PublishError>,
    /// Its topic.
    pub(super) topic: String,
}

/// Dead letters that are being written.
#[derive(Default)]
pub(super) struct Letters {
    writing: FuturesUnordered<LocalBoxFuture<'static, Written>>,
}

impl Letters {
    /// Begins to write one.
    pub(super) fn write(
        &mut self,
        (id, wait): (Id, Wait),
        letter: &Letter<'_, Entry>,
        (group, handler): (&str, &str),
        producer: Producer,
    ) {
        let at = |us| Timestamp::from_microsecond(us).unwrap_or_default();
        let cause = Cause {
            group,
            handler,
            error: letter.error,
            attempts: letter.attempts,
            first_failure: at(letter.first_failure_us),
            last_failure: at(letter.last_failure_us),
        };
        let outgoing = dead_letter(&letter.record.record(), &cause);
        let topic = outgoing.topic.clone();
        let write = async move {
            let result = producer.send(outgoing).await.map(drop);
            Written { id, wait, result, topic }
        };
        self.writing.push(write.boxed_local());
    }

    /// One whose fate is known.
    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Option<Written> {
        match self.writing.poll_next_unpin(cx) {
            Poll::Ready(written) => written,
            Poll::Pending => None,
        }
    }

    /// Forgets all of them; the producer may write them all the same.
    pub(super) fn clear(&mut self) {
        self.writing = FuturesUnordered::new();
    }
}

//! What begins: the next items that may run, decoded, and the call to the handler.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use super::actor::{Called, HandlerActor};
use super::invoke::{Invoke, Run};
use super::item::{InHand, Item};
use crate::event::Event;
use crate::guard::{guarded, guarded_future};
use delivery::outcome::{ErrorKind, HandlerError};
use delivery::worker::lanes::LaneKey;

impl<I: Invoke> HandlerActor<I> {
    /// The next items that may run together, decoded. Items that cannot run are dealt with on the way.
    pub(super) fn next_run(&mut self, generation: u32) -> Option<(InHand, Run<Event<I::Event>>)> {
        // On trial it is one event, so that it takes no others with it.
        let most = if self.life.on_trial() { 1 } else { I::MAX_EVENTS_PER_RUN };
        // Most runs are one event: then nothing is put into a vector that is not made with it.
        let (lane, item, event) = self.next_event(false)?;
        let alone = item.attempts > 0;
        let items = Run::from_buf([(lane, item)]);
        let mut in_hand = InHand { generation, began_ns: self.clock.now_ns, items };
        let mut events = Run::from_buf([event]);
        if most > 1 && !alone {
            self.join_followers(lane, most, &mut in_hand, &mut events);
            while in_hand.items.len() < most
                && let Some((lane, item, event)) = self.next_event(true)
            {
                events.push(event);
                in_hand.items.push((lane, item));
                self.join_followers(lane, most, &mut in_hand, &mut events);
            }
        }
        Some((in_hand, events))
    }

    /// The next item that may run, decoded. An event that failed before runs alone, so that it cannot take others with it
    /// again: where there are others already, it waits.
    #[inline]
    fn next_event(&mut self, with_others: bool) -> Option<(LaneKey, Item, Event<I::Event>)> {
        while let Some((lane, item)) = self.lanes.start() {
            if !item.may_start() {
                self.answers.push(item.answer(false));
                self.lanes.release(lane);
                continue;
            }
            self.around.counters.vitals().passes("begin");
            if item.attempts >= self.config.retry.max_attempts {
                // It took its actor with it, or its dead letter was on its way when the actor fell.
                let last = self.around.counters.vitals().status().last_failure;
                let last = last.map_or(String::new(), |incident| incident.message);
                let error = HandlerError::new(ErrorKind::Panic, format!("the actor around its handler {last}"));
                self.fail(lane, item, error, Duration::ZERO, Vec::new());
                continue;
            }
            if with_others && item.attempts > 0 {
                self.lanes.unstart(lane, item);
                return None;
            }
            match decode::<I>(&item) {
                Ok(event) => return Some((lane, item, event)),
                Err(error) => self.fail(lane, item, error, Duration::ZERO, Vec::new()),
            }
        }
        None
    }

    /// Takes more items of a lane into the run, as long as they can run with it.
    fn join_followers(&mut self, lane: LaneKey, most: usize, in_hand: &mut InHand, events: &mut Run<Event<I::Event>>) {
        while in_hand.items.len() < most {
            let mut event = None;
            let joined = self.lanes.join(lane, |item| {
                event = (item.attempts == 0 && item.may_start()).then(|| decode::<I>(item).ok()).flatten();
                event.is_some()
            });
            let (Some(item), Some(event)) = (joined, event) else { break };
            events.push(event);
            in_hand.items.push((lane, item));
        }
    }
}

/// Decodes under the guard too: a contract's own `Deserialize` or validation may panic.
fn decode<I: Invoke>(item: &Item) -> Result<Event<I::Event>, HandlerError> {
    guarded(|| Event::decode(&item.batch, item.index, item.attempts + 1))
        .unwrap_or_else(|panicked| Err(HandlerError::new(ErrorKind::Undecodable, panicked)))
}

/// Calls the handler; a panic in it ends here, and so does one in the `Drop` of what it was called with.
// Not itself `async`, which would move the events once more.
pub(super) fn call<I: Invoke>(handler: Rc<I>, events: Run<Event<I::Event>>) -> impl Future<Output = Called> {
    guarded_future(async move {
        let results = handler.invoke(&events).await;
        drop(events);
        results
    })
}

//! The actor around a handler after a panic of its own code: whatever it was at may be half done, so it keeps its records
//! and nothing else. What was in hand is cancelled, and all of them go into new lanes, in order.

use std::sync::Arc;

use actix::{Addr, Context, Supervised};
use futures_util::stream::FuturesUnordered;

use super::actor::HandlerActor;
use super::invoke::Invoke;
use super::item::{InHand, Item};
use super::life::Life;
use crate::record::RecordBatch;
use crate::supervisor::{Care, supervise};
use delivery::worker::lanes::{LaneKey, Lanes};

/// Records of one batch that came, of which the first are in their lanes.
pub(super) struct Arrived {
    pub(super) batch: Arc<RecordBatch>,
    pub(super) records: Vec<u32>,
    pub(super) queued: usize,
}

impl<I: Invoke> HandlerActor<I> {
    /// Starts it on the current arbiter, under supervision.
    pub(crate) fn supervised(self) -> Addr<Self> {
        let around = &self.around;
        let vitals = Arc::clone(around.counters.vitals());
        let care = Care::new(vitals, self.config.restart, around.journal.clone(), around.escalation.clone());
        supervise(self, care)
    }

    /// Puts each record that arrived into the lane of its key.
    pub(super) fn queue_arrived(&mut self) {
        while let Some(arrived) = &mut self.arrived
            && let Some(index) = arrived.records.get(arrived.queued)
        {
            let item = Item::new(Arc::clone(&arrived.batch), *index, &self.fallen);
            arrived.queued += 1;
            self.around.counters.vitals().passes("work");
            self.queue(item);
        }
        self.arrived = None;
    }

    fn queue(&mut self, item: Item) {
        let record = item.record();
        let seed = record.assignment().lane_seed;
        let lane = LaneKey::of(seed, record.offset(), record.key(), self.config.unkeyed);
        self.lanes.push(lane, item);
    }
}

impl<I: Invoke> Supervised for HandlerActor<I> {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Calls are cancelled where they wait. Backoffs are over, and dead letters are begun anew.
        let cancelled = self.runs.cancel(&mut |_| true);
        self.runs = Self::no_runs();
        self.waits = FuturesUnordered::new();
        self.dying.clear();
        self.alarm = None;
        let comes = self.life.comes;
        self.life = Life::new(self.config.restart);
        // An operator's word holds, and where there was no hope there is none.
        self.life.comes = comes;
        let mut items = std::mem::replace(&mut self.lanes, Lanes::new(self.share.limit())).into_items();
        items.extend(cancelled.into_iter().flat_map(|InHand { items, .. }| items).map(|(_, item)| item));
        items.append(&mut self.fallen.take());
        items.sort_by_key(Item::place);
        for mut item in items {
            // Eras are counted from the beginning again.
            item.failed_in = None;
            if item.may_start() {
                self.queue(item);
            } else {
                // The message in hand may have been a sweep.
                self.answers.push(item.answer(false));
            }
        }
        self.queue_arrived();
    }
}

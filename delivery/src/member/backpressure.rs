//! How much may be read of a partition, and which partitions are paused?
//!
//! Credits count the records between poll and settlement; the pool of the batches counts their bytes. A partition may have
//! as much in flight as is left for all the others (Choudhury and Hahne, "Dynamic queue length thresholds", 1998): that
//! binds nothing while little is in flight, and one that is stuck always leaves room. And it may have so much that what
//! gets settled out of order fits into its commit's metadata, whatever the order.
//!
//! All records come out of one queue. What comes of a partition that is held goes to the stash, so that the others are read
//! on, but only so much of it. When a partition has been held for a while ([`PATIENCE`](crate::member::hold::PATIENCE)) it is
//! paused at the source, which costs what the source has prefetched of it and what is in the stash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::member::assigned::Assigned;
use crate::member::frontier::{Frontier, MAX_RECORD_PROGRESS_BYTES};
use crate::member::hold::{Hold, PauseCause};
use crate::member::partitions::Partitions;
use crate::member::progress::codec::max_runs_bytes;
use crate::sabotage::{Sabotage, is};
use crate::worker::Appetite;

/// A paused partition is resumed when it is down to this part of what it may have.
const RESUMED_AT_ONE_OF: usize = 2;

/// What bounds the reading of a member.
#[derive(Debug)]
pub(crate) struct Backpressure {
    limit_records: usize,
    in_flight: usize,
    /// What the pool of the batches has left.
    free_bytes: usize,
    /// What the progress of a partition may take of a commit's metadata.
    max_progress_bytes: usize,
    /// Topics that are paused, by cause; they stay so whatever is assigned.
    paused_topics: [BTreeSet<String>; PauseCause::ALL.len()],
    /// Topics of which one record more is wanted.
    requests: BTreeMap<String, Request>,
}

/// A request for one record more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    number: u64,
    is_met: bool,
}

/// A change of a partition at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    pub(crate) slot: u32,
    pub(crate) paused: bool,
    /// Why it is, or was, paused.
    pub(crate) cause: PauseCause,
}

/// What a partition has in flight, against what it may have.
#[derive(Clone, Copy, Debug)]
struct Load {
    records: usize,
    bytes: usize,
    progress_bytes: usize,
    free_records: usize,
    free_bytes: usize,
    max_progress_bytes: usize,
}

impl Load {
    /// Records that may be read before it has too much, should all of them be of this partition. With nothing in flight
    /// it may always have one: nothing but its own records makes its load less.
    fn room(&self) -> usize {
        if is(Sabotage::ShareIgnored) {
            return self.free_records;
        }
        // Each record that is read is one more here and one less of what is left.
        let share = self.free_records.saturating_sub(self.records).div_ceil(2);
        let share = if self.bytes > self.free_bytes { 0 } else { share };
        let progress = self.max_progress_bytes.saturating_sub(self.progress_bytes) / MAX_RECORD_PROGRESS_BYTES;
        let progress = if is(Sabotage::ProgressCutOff) { usize::MAX } else { progress };
        share.min(progress).max(usize::from(self.records == 0))
    }

    fn is_relieved(&self) -> bool {
        let within = |is: usize, of: usize| is <= of / RESUMED_AT_ONE_OF;
        let share = within(self.records, self.free_records) && within(self.bytes, self.free_bytes);
        self.records == 0 || (share && within(self.progress_bytes, self.max_progress_bytes))
    }
}

impl Backpressure {
    /// All credits free, and no bytes before [`set_free_bytes`](Self::set_free_bytes).
    pub(crate) fn new(limit_records: usize, max_metadata_bytes: usize) -> Self {
        let max_progress_bytes = max_runs_bytes(max_metadata_bytes);
        Self {
            limit_records,
            in_flight: 0,
            free_bytes: 0,
            max_progress_bytes,
            paused_topics: Default::default(),
            requests: BTreeMap::new(),
        }
    }

    /// The pool of the batches has so much left.
    pub(crate) fn set_free_bytes(&mut self, bytes: usize) {
        self.free_bytes = bytes;
    }

    /// What the pool of the batches had left.
    pub(crate) fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// Records that may be polled now, of whatever partition. Zero also when the bytes are used up; what is polled at once
    /// may pass the limit in bytes, for its size is known only then.
    pub(crate) fn free(&self) -> usize {
        if self.free_bytes == 0 { 0 } else { self.limit_records.saturating_sub(self.in_flight) }
    }

    /// Records in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// One record was polled.
    #[inline]
    pub(crate) fn take(&mut self, topic: &str) {
        self.in_flight += 1;
        if !self.requests.is_empty()
            && let Some(request) = self.requests.get_mut(topic)
        {
            request.is_met = true;
        }
    }

    /// Records were settled or given up, or their assignment has ended.
    #[inline]
    pub(crate) fn give_back(&mut self, records: usize) {
        debug_assert!(records <= self.in_flight, "credits given back that were never taken");
        self.in_flight = self.in_flight.saturating_sub(records);
    }

    /// Nothing is in flight. What is paused stays so.
    pub(crate) fn forget(&mut self) {
        self.in_flight = 0;
        if is(Sabotage::RejoinForgetsPauses) {
            self.paused_topics = Default::default();
        }
    }

    fn load(&self, frontier: &Frontier) -> Load {
        let (records, bytes) = frontier.owned();
        Load {
            records,
            bytes,
            progress_bytes: frontier.worst_progress_bytes(),
            free_records: self.free(),
            free_bytes: self.free_bytes,
            max_progress_bytes: self.max_progress_bytes,
        }
    }

    /// Records that may be taken of a partition now.
    pub(crate) fn room_of(&self, assigned: &Assigned) -> usize {
        let read = assigned.assignment.is_open() && assigned.hold.paused().is_none();
        if !read {
            return 0;
        }
        let room = self.load(&assigned.frontier).room();
        match self.requests.get(&*assigned.assignment.topic) {
            None => room,
            Some(request) => room.min(usize::from(!request.is_met)),
        }
    }

    /// Decides which partitions are paused, and gives what that changes.
    pub(crate) fn regulate(&self, partitions: &mut Partitions, now: Instant) -> Vec<Tap> {
        let mut taps = Vec::new();
        for assigned in partitions.assigned_mut().filter(|assigned| assigned.assignment.is_open()) {
            let load = self.load(&assigned.frontier);
            // Where all credits are used up nothing can be read, and pausing one would help none.
            let open = load.room() > 0 || load.free_records == 0;
            let stage = assigned.hold.stage().next(open, load.is_relieved(), now);
            let said = |cause: &PauseCause| self.paused_topics[*cause as usize].contains(&*assigned.assignment.topic);
            let held = || stage.is_paused().then_some(PauseCause::Backpressure);
            let mut paused = PauseCause::ALL.into_iter().find(said).or_else(held);
            if is(Sabotage::NeverResumed) {
                paused = assigned.hold.paused().or(paused);
            }
            let slot = assigned.slot();
            match (assigned.hold.paused(), paused) {
                (None, Some(cause)) => taps.push(Tap { slot, paused: true, cause }),
                (Some(cause), None) => taps.push(Tap { slot, paused: false, cause }),
                _ => {}
            }
            assigned.hold = Hold::new(stage, paused);
        }
        taps
    }

    /// How much the handler of a topic should be fed. One record more is read once for each request.
    pub(crate) fn feed(&mut self, topic: &str, appetite: Appetite) {
        let Appetite::OneMore(number) = appetite else {
            if !self.requests.is_empty() {
                self.requests.remove(topic);
            }
            return self.pause_topic(topic, PauseCause::Supervisor, appetite == Appetite::Nothing);
        };
        let known = self.requests.get(topic).copied().filter(|request| request.number == number);
        let request = known.unwrap_or(Request { number, is_met: false });
        if known.is_none() {
            self.requests.insert(topic.to_owned(), request);
        }
        self.pause_topic(topic, PauseCause::Supervisor, request.is_met);
    }

    /// Pauses a topic for that cause, or ends its pause: for the partitions that are assigned, and for those that will
    /// be. It is read again when no cause is left. [`regulate`](Self::regulate) says what that changes.
    pub(crate) fn pause_topic(&mut self, topic: &str, cause: PauseCause, paused: bool) {
        let topics = &mut self.paused_topics[cause as usize];
        if !paused || (cause == PauseCause::Supervisor && is(Sabotage::OpenTopicRead)) {
            topics.remove(topic);
        } else if !topics.contains(topic) {
            topics.insert(topic.to_owned());
        }
    }

    /// Whether a topic is paused for that cause.
    pub(crate) fn is_paused(&self, topic: &str, cause: PauseCause) -> bool {
        self.paused_topics[cause as usize].contains(topic)
    }
}

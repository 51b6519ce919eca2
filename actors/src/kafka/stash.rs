//! Records that were read while their partition takes none: stashed, in their order, so that the others are read on.

use std::collections::VecDeque;

use super::ffi::OwnedMessage;
use super::message::Message;
use delivery::partition::TopicPartition;

/// Records stashed at once, and their bytes: a partition comes in runs of what one fetch brought, so this is the runs of
/// some partitions. Beyond it nothing is read until one of them takes more, or is paused.
const MAX_SET_ASIDE_RECORDS: usize = 65_536;
const MAX_SET_ASIDE_BYTES: usize = 8 << 20;

/// What is stashed, by partition.
#[derive(Default)]
pub(super) struct Stash {
    partitions: VecDeque<OfPartition>,
    records: usize,
    bytes: usize,
}

struct OfPartition {
    /// The topic's handle, and the partition.
    from: (usize, i32),
    messages: VecDeque<OwnedMessage>,
}

fn from(message: &OwnedMessage) -> (usize, i32) {
    let raw = message.raw();
    (raw.topic_handle(), raw.partition())
}

fn size(message: &OwnedMessage) -> usize {
    let raw = message.raw();
    raw.key().map_or(0, <[u8]>::len) + raw.value().map_or(0, <[u8]>::len)
}

impl Stash {
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.records >= MAX_SET_ASIDE_RECORDS || self.bytes >= MAX_SET_ASIDE_BYTES
    }

    /// Offers up to `max` records again, the first of each partition first, until it is not taken. Returns how many were.
    pub(super) fn offer(&mut self, max: usize, each: &mut impl FnMut(&Message<'_>) -> bool) -> usize {
        let mut taken = 0;
        for _ in 0..self.partitions.len() {
            // Another one is the first next time.
            let Some(mut partition) = self.partitions.pop_front() else { break };
            while taken < max
                && let Some(message) = partition.messages.pop_front_if(|first| each(&Message(&first.raw())))
            {
                taken += 1;
                self.records -= 1;
                self.bytes -= size(&message);
            }
            if !partition.messages.is_empty() {
                self.partitions.push_back(partition);
            }
        }
        taken
    }

    /// Stashes a record where others of its partition are, so that it stays behind them; gives it back where none is.
    pub(super) fn follow(&mut self, message: OwnedMessage) -> Option<OwnedMessage> {
        let from = from(&message);
        let Some(partition) = self.partitions.iter_mut().find(|partition| partition.from == from) else {
            return Some(message);
        };
        self.records += 1;
        self.bytes += size(&message);
        partition.messages.push_back(message);
        None
    }

    /// Stashes a record as the first of its partition.
    pub(super) fn begin(&mut self, message: OwnedMessage) {
        self.partitions.push_back(OfPartition { from: from(&message), messages: VecDeque::new() });
        let followed = self.follow(message);
        debug_assert!(followed.is_none(), "its partition was made above");
    }

    /// Forgets the records of a partition: they come again, here or elsewhere. False where there were none.
    pub(super) fn forget(&mut self, of: &TopicPartition) -> bool {
        let is_of = |message: &OwnedMessage| {
            let raw = message.raw();
            raw.partition() == of.partition && raw.topic() == of.topic
        };
        let Some(at) = self.partitions.iter().position(|known| known.messages.front().is_some_and(is_of)) else {
            return false;
        };
        let messages = self.partitions.remove(at).map(|gone| gone.messages).unwrap_or_default();
        self.records -= messages.len();
        self.bytes -= messages.iter().map(size).sum::<usize>();
        true
    }
}

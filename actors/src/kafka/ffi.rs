//! The one file with unsafe code: librdkafka's queue API, which rdkafka does not wrap, behind a safe face.
//!
//! What makes it sound: [`QueuedConsumer`] owns the consumer together with the queues made from it and destroys the
//! queues first; a message is read through a borrow of the value that owns it and destroys it.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

#[cfg(feature = "faults")]
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;

use super::wire::WireHeaders;

/// Messages taken from the queue at once: more gains nothing, and fewer than 64 cost.
pub(super) const MAX_BATCH_RECORDS: usize = 512;

/// A consumer whose partitions are all forwarded to one queue that is read in batches, plus a queue for commit answers.
pub(super) struct QueuedConsumer<C: ConsumerContext> {
    consumer: BaseConsumer<C>,
    records: NonNull<sys::rd_kafka_queue_t>,
    commits: NonNull<sys::rd_kafka_queue_t>,
    taken: Vec<OwnedMessage>,
}

// SAFETY: librdkafka's handles may be used from any thread; the raw pointers are owned by this value alone.
unsafe impl<C: ConsumerContext> Send for QueuedConsumer<C> {}

/// One message, as long as its owner lets it be read.
pub(super) struct RawMessage<'a> {
    message: &'a sys::rd_kafka_message_t,
    /// The message and what follows it, where this library knows what that is.
    whole: Option<&'a WholeMessage>,
}

/// What a message is inside librdkafka (`rd_kafka_msg_t` in its `rdkafka_msg.h`), as far as a consumer's headers.
///
/// No call of librdkafka says that a message has no headers without some 1,100 instructions, nearly half of what it takes
/// to get a record into a batch, and those that are there cost some 400 more each. Here they lie as they came.
#[repr(C)]
struct WholeMessage {
    message: sys::rd_kafka_message_t,
    link: [*const c_void; 2],
    flags: c_int,
    timestamp_type: c_int,
    timestamp: i64,
    /// Those that somebody asked for.
    headers: *const c_void,
    status: c_int,
    broker: i32,
    /// The headers as they came over the wire.
    wire_headers_len: i32,
    wire_headers: *const u8,
}

/// The version whose messages are that; in another one librdkafka is asked. A test compares the two.
const KNOWN_LAYOUT: c_int = 0x020c_01ff;

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> RawMessage<'a> {
    /// What librdkafka reports in place of a record.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        (self.message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| self.message.err.into())
    }

    /// A number that is the same for messages of one topic while the assignment does not change.
    pub(super) fn topic_handle(&self) -> usize {
        self.message.rkt as usize
    }

    pub(super) fn topic(&self) -> Cow<'a, str> {
        if self.message.rkt.is_null() {
            return Cow::Borrowed("");
        }
        // SAFETY: a consumed message holds its topic, whose name is a C string of the same lifetime.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.message.rkt)) }.to_string_lossy()
    }

    pub(super) fn partition(&self) -> i32 {
        self.message.partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.message.offset
    }

    pub(super) fn timestamp_ms(&self) -> i64 {
        // SAFETY: reads a field of a live message; the type is not wanted, and null says so.
        unsafe { sys::rd_kafka_message_timestamp(self.message, ptr::null_mut()) }
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        bytes(self.message.key.cast(), self.message.key_len)
    }

    pub(super) fn value(&self) -> Option<&'a [u8]> {
        bytes(self.message.payload.cast(), self.message.len)
    }

    /// The same message, as if no one knew what follows it.
    #[cfg(test)]
    pub(super) fn of_another_version(self) -> Self {
        Self { whole: None, ..self }
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let wire = self.wire_headers();
        let parsed = wire.is_none().then(|| self.parsed_headers());
        wire.into_iter().flatten().chain(parsed.into_iter().flatten())
    }

    /// The headers as they came; `None` where this library does not know where they lie.
    pub(super) fn wire_headers(&self) -> Option<WireHeaders<'a>> {
        let whole = self.whole?;
        // Where there are none, their number is all: one byte.
        let length = usize::try_from(whole.wire_headers_len).unwrap_or(0);
        Some(WireHeaders::new(if length > 1 { bytes(whole.wire_headers, length)? } else { &[] }))
    }

    /// The headers as librdkafka has them.
    pub(super) fn parsed_headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut headers = ptr::null_mut();
        // SAFETY: the headers belong to the message and live as long as it; without headers the call fails.
        let found = unsafe { sys::rd_kafka_message_headers(self.message, &raw mut headers) };
        let count = if found == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            // SAFETY: `headers` was set by the call above.
            unsafe { sys::rd_kafka_header_cnt(headers) }
        } else {
            0
        };
        (0..count).map_while(move |index| {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: `headers` lives as long as the message ('a); the call sets all three on success.
            unsafe {
                let found = sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size);
                (found == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
                    .then(|| (CStr::from_ptr(name).to_bytes(), bytes(value.cast(), size)))
            }
        })
    }
}

fn bytes<'a>(start: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka gives a null pointer for a null value, else `length` readable bytes that live as long as the
    // message they came from; every caller bounds 'a by that message.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, length) })
}

/// The broker's answer for one partition of a commit.
pub(super) struct RawCommitAnswer {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) error: Option<RDKafkaErrorCode>,
}

impl<C: ConsumerContext> QueuedConsumer<C> {
    pub(super) fn new(consumer: BaseConsumer<C>) -> Self {
        let client = consumer.client().native_ptr();
        // SAFETY: the client is live. `rd_kafka_queue_new` allocates and cannot fail.
        let (records, commits) = unsafe { (sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_new(client)) };
        Self {
            consumer,
            records: NonNull::new(records).expect("rd_kafka_queue_new aborts rather than return null"),
            commits: NonNull::new(commits).expect("rd_kafka_queue_new aborts rather than return null"),
            taken: Vec::with_capacity(MAX_BATCH_RECORDS),
        }
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Sends a partition's records to the queue. Call it before the partition is assigned: then no record can land on
    /// the consumer's own queue.
    pub(super) fn forward(&self, topic: &str, partition: i32) {
        self.set_forward(topic, partition, self.records.as_ptr());
    }

    /// The partition is not forwarded any longer.
    pub(super) fn unforward(&self, topic: &str, partition: i32) {
        self.set_forward(topic, partition, ptr::null_mut());
    }

    fn set_forward(&self, topic: &str, partition: i32, target: *mut sys::rd_kafka_queue_t) {
        let Ok(topic) = CString::new(topic) else { return };
        // SAFETY: the client is live; the partition's queue is a counted reference that is given back here.
        unsafe {
            let queue =
                sys::rd_kafka_queue_get_partition(self.consumer.client().native_ptr(), topic.as_ptr(), partition);
            if !queue.is_null() {
                sys::rd_kafka_queue_forward(queue, target);
                sys::rd_kafka_queue_destroy(queue);
            }
        }
    }

    /// Takes up to `max` messages: waits up to `wait` for the first one, and takes what else is there. Returns how many.
    /// None may be kept longer than this consumer lives: dropping it waits for them for ever.
    pub(super) fn read(&mut self, max: usize, wait: Duration, each: impl FnMut(OwnedMessage)) -> usize {
        let wait_ms = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        let max = max.min(MAX_BATCH_RECORDS);
        if max == 0 {
            return 0;
        }
        debug_assert!(self.taken.is_empty(), "every message taken was destroyed");
        // SAFETY: the queue is live; `taken` has room for MAX_BATCH_RECORDS pointers, and its length is set to the
        // number that the call wrote.
        unsafe {
            let first = sys::rd_kafka_consume_queue(self.records.as_ptr(), wait_ms);
            if first.is_null() {
                return 0;
            }
            self.taken.push(OwnedMessage(first));
            let more = sys::rd_kafka_consume_batch_queue(
                self.records.as_ptr(),
                0,
                self.taken.spare_capacity_mut().as_mut_ptr().cast(),
                max - 1,
            );
            self.taken.set_len(1 + usize::try_from(more).unwrap_or(0));
        }
        let count = self.taken.len();
        // Those that a panic of `each` leaves behind are destroyed with the iterator.
        self.taken.drain(..).for_each(each);
        count
    }

    /// Begins a commit; its answer comes out of [`commit_answers`](Self::commit_answers) under the same number.
    pub(super) fn commit(&self, number: u64, offsets: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        // Never dereferenced: librdkafka hands it back with the answer.
        let opaque = ptr::without_provenance_mut::<c_void>(usize::try_from(number).unwrap_or(0));
        // SAFETY: client, list and queue are live; librdkafka copies the list. Without a callback the answer is an event.
        let started = unsafe {
            sys::rd_kafka_commit_queue(
                self.consumer.client().native_ptr(),
                offsets.ptr(),
                self.commits.as_ptr(),
                None,
                opaque,
            )
        };
        if started == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(started.into()) }
    }

    /// The next answered commit: its number and the answers. Never waits.
    pub(super) fn commit_answers(&self) -> Option<(u64, Vec<RawCommitAnswer>)> {
        // SAFETY: the queue is live; the event is ours until it is destroyed, and the list in it lives as long.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.commits.as_ptr(), 0);
            if event.is_null() {
                return None;
            }
            let number = sys::rd_kafka_event_opaque(event).addr() as u64;
            let whole = sys::rd_kafka_event_error(event);
            let list = sys::rd_kafka_event_topic_partition_list(event);
            let elements = match list.as_ref() {
                Some(list) if list.cnt > 0 => slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0)),
                _ => &[],
            };
            let none = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            // The whole carries the error of any partition; it speaks for all where none has one of its own.
            let whole = if elements.iter().any(|element| element.err != none) { none } else { whole };
            let answers = elements
                .iter()
                .map(|element| {
                    let own = element.err;
                    let error = if own == none { whole } else { own };
                    RawCommitAnswer {
                        topic: CStr::from_ptr(element.topic).to_string_lossy().into_owned(),
                        partition: element.partition,
                        error: (error != none).then(|| error.into()),
                    }
                })
                .collect();
            sys::rd_kafka_event_destroy(event);
            Some((number, answers))
        }
    }
}

/// A message of ours. Transparent: librdkafka writes pointers where these lie.
#[repr(transparent)]
pub(super) struct OwnedMessage(*mut sys::rd_kafka_message_t);

impl OwnedMessage {
    pub(super) fn raw(&self) -> RawMessage<'_> {
        // SAFETY: reads a constant.
        let is_known = cfg!(target_pointer_width = "64") && unsafe { sys::rd_kafka_version() } == KNOWN_LAYOUT;
        // SAFETY: the message is live until it is dropped, and borrowed until then. In the known version every message
        // that a consumer gets is the first member of a `rd_kafka_msg_t`, and no one writes to it while it is ours.
        let (message, whole) = unsafe { (&*self.0, is_known.then(|| &*self.0.cast::<WholeMessage>())) };
        RawMessage { message, whole }
    }
}

impl Drop for OwnedMessage {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a consume call and is destroyed once, here.
        unsafe { sys::rd_kafka_message_destroy(self.0) }
    }
}

impl<C: ConsumerContext> Drop for QueuedConsumer<C> {
    fn drop(&mut self) {
        // Messages left in a queue hold the client, and `rd_kafka_destroy` would wait for them for ever.
        if let Ok(assigned) = self.consumer.assignment() {
            for element in assigned.elements() {
                self.unforward(element.topic(), element.partition());
            }
        }
        while self.read(MAX_BATCH_RECORDS, Duration::ZERO, |_| {}) > 0 {}
        while self.commit_answers().is_some() {}
        // SAFETY: both are live and used by no one else; the consumer is dropped after this.
        unsafe {
            sys::rd_kafka_queue_destroy(self.records.as_ptr());
            sys::rd_kafka_queue_destroy(self.commits.as_ptr());
        }
    }
}

/// Whether a message whose delivery failed may have reached the log all the same.
pub(super) fn possibly_persisted(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: reads a field of a live message.
    let status = unsafe { sys::rd_kafka_message_status(message.ptr()) };
    status != sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// Has a client meet a fatal error, as librdkafka's own tests do.
#[cfg(feature = "faults")]
pub(super) fn fail_for_good<C: ClientContext>(client: &Client<C>) {
    let error = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: the client is live; librdkafka copies the reason.
    unsafe {
        sys::rd_kafka_test_fatal_error(client.native_ptr(), error, c"a test wants it".as_ptr());
    }
}

/// Makes the mock cluster of a client rebalance its groups at once and ask for quick heartbeats.
pub(super) fn tune_mock_groups<C: ProducerContext>(client: &BaseProducer<C>, heartbeat: Duration, session: Duration) {
    let millis = |duration: Duration| c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the cluster belongs to the live client; the calls set integers under the cluster's own lock.
    unsafe {
        let cluster = sys::rd_kafka_handle_mock_cluster(client.client().native_ptr());
        if !cluster.is_null() {
            sys::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
            sys::rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(cluster, millis(heartbeat));
            sys::rd_kafka_mock_set_group_consumer_session_timeout_ms(cluster, millis(session));
        }
    }
}

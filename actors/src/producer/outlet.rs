//! The outlet: what outlives the service's producer clients. While there is none, records wait here for the next one.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::event::Outgoing;
use crate::kafka::{PublishCause, PublishError, Reply, Sink};

/// Records that wait for a client: as many as a client's own queue takes.
const MAX_WAITING_RECORDS: usize = 20_000;
/// Bytes of them: the same.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// Between looks whether there is a client again.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Sends by the client that there is; a clone is the same outlet.
#[derive(Clone)]
pub struct Outlet(pub(super) Arc<Shared>);

pub(super) struct Shared {
    // Read by every record on its way out, as the locks of librdkafka are; written when a client ends and when one begins.
    line: RwLock<Line>,
    /// A record that waited so long is not sent.
    patience: Duration,
}

/// Where records go.
pub(super) struct Line {
    client: Option<Sink>,
    /// A client that sends nothing new any more, until it has answered for what it took.
    ended: Option<Sink>,
    /// Waits for the next client; first what an earlier one had taken.
    unsent: VecDeque<Waiting>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Why no client comes, where none does: what comes to be sent is refused.
    closed: Option<&'static str>,
}

/// What the client reaches, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A broker, within the last seconds.
    Broker,
    /// No broker within them.
    Nothing,
    /// There is no client now, but one comes.
    Restarting,
    /// No client comes, for that reason, so that whatever should be sent is refused.
    Closed(&'static str),
}

/// Where the last client was given up.
pub(super) const HOPELESS: &str = "the producer does not come back";
/// Until an operator says otherwise.
pub(super) const STOPPED: &str = "an operator stopped the producer's client";

pub(super) struct Waiting {
    record: Outgoing,
    reply: Reply,
    since: Instant,
}

impl Waiting {
    fn bytes(&self) -> usize {
        let headers = self.record.headers.iter();
        let headers: usize = headers.map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        let part = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        part(&self.record.key) + part(&self.record.value) + headers
    }

    fn refuse(self, why: &'static str) {
        // A caller that went away does not want the answer.
        let _ = self.reply.send(Err(PublishError::NotSent(PublishCause::Producer(why))));
    }
}

impl Outlet {
    pub(super) fn new(client: Sink, patience: Duration) -> Self {
        let line = Line {
            client: Some(client),
            ended: None,
            unsent: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            closed: None,
        };
        Self(Arc::new(Shared { line: RwLock::new(line), patience }))
    }

    /// Sends a record. Its fate goes to `reply`, exactly once; a dropped receiver changes nothing for the record.
    ///
    /// Never waits: where there is no client now the record does, within bounds.
    pub fn send(&self, record: Outgoing, reply: Reply) {
        let refused = {
            let line = self.0.read();
            match &line.client {
                Some(client) => client.try_send(&record, reply).map(|reply| (reply, Some(client.number()))),
                None => Some((reply, None)),
            }
        };
        let Some((reply, dead)) = refused else { return };
        let mut line = self.0.write();
        if let Some(dead) = dead {
            line.retire(dead);
        }
        line.wait_or_send(record, reply);
    }

    /// Why a record has no chance to be acknowledged, where it has none: no client comes, or no broker was reached within
    /// the last seconds, as measured. While the client is restarted, it has.
    #[must_use]
    pub fn hopeless(&self) -> Option<&'static str> {
        match self.reach() {
            Reach::Broker | Reach::Restarting => None,
            Reach::Nothing => Some("no Kafka broker is reachable"),
            Reach::Closed(why) => Some(why),
        }
    }

    /// What its client reaches.
    pub(crate) fn reach(&self) -> Reach {
        let line = self.0.read();
        match (line.closed, &line.client) {
            (Some(why), _) => Reach::Closed(why),
            (None, None) => Reach::Restarting,
            (None, Some(client)) if client.is_reachable() => Reach::Broker,
            (None, Some(_)) => Reach::Nothing,
        }
    }

    /// A record that has waited so long to be sent is not sent.
    pub(super) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// Records that wait for a client or for their acknowledgement.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let line = self.0.read();
        let clients = line.client.iter().chain(&line.ended).map(Sink::in_flight);
        clients.sum::<usize>() + line.waiting.len() + line.unsent.len()
    }

    /// Waits until all is acknowledged or failed; blocks up to `deadline`, so call it where a thread may block. False
    /// where records are still on their way then.
    #[must_use]
    pub fn flush(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        loop {
            let client = self.0.read().client.clone();
            let left = until.saturating_duration_since(Instant::now());
            match client {
                Some(client) => return client.flush(left).is_ok() && self.in_flight() == 0,
                None if self.in_flight() == 0 => return true,
                None if left.is_zero() => return false,
                None => std::thread::sleep(LOOK_PAUSE.min(left)),
            }
        }
    }

    /// Has its client meet a fatal error.
    #[cfg(feature = "faults")]
    pub(crate) fn fail_for_good(&self) {
        if let Some(client) = &self.0.read().client {
            client.fail_for_good();
        }
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Line> {
        self.line.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Line> {
        self.line.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what has waited too long.
    pub(super) fn expire(&self) {
        let mut line = self.write();
        let late = |waiting: &mut Waiting| waiting.since.elapsed() >= self.patience;
        while let Some(waiting) = line.unsent.pop_front_if(late) {
            waiting.refuse(TOO_LATE);
        }
        while let Some(waiting) = line.waiting.pop_front_if(late) {
            line.waiting_bytes -= waiting.bytes();
            waiting.refuse(TOO_LATE);
        }
    }
}

const TOO_LATE: &str = "the producer's client was not restarted in time";

impl Line {
    /// The client that there is.
    pub(super) fn client(&self) -> Option<&Sink> {
        self.client.as_ref()
    }

    /// The client of that number has ended: whatever comes waits for the next one.
    pub(super) fn retire(&mut self, number: u32) {
        if let Some(client) = self.client.take_if(|client| client.number() == number) {
            self.ended = Some(client);
        }
    }

    /// A client that has ended and has not answered for all that it took.
    pub(super) fn ended(&self) -> Option<&Sink> {
        self.ended.as_ref()
    }

    /// It has answered for all.
    pub(super) fn forget_ended(&mut self) {
        self.ended = None;
    }

    /// An earlier client had taken it and did not send it.
    pub(super) fn unsent(&mut self, record: Outgoing, reply: Reply) {
        if self.client.is_some() || self.closed.is_some() {
            self.wait_or_send(record, reply);
        } else {
            self.unsent.push_back(Waiting { record, reply, since: Instant::now() });
        }
    }

    fn wait_or_send(&mut self, record: Outgoing, reply: Reply) {
        let reply = match &self.client {
            Some(client) => client.try_send(&record, reply),
            None => Some(reply),
        };
        // One that has ended just now has told its keeper.
        let Some(reply) = reply else { return };
        let waiting = Waiting { record, reply, since: Instant::now() };
        let bytes = waiting.bytes();
        if let Some(why) = self.closed {
            waiting.refuse(why);
        } else if self.waiting.len() >= MAX_WAITING_RECORDS || self.waiting_bytes + bytes > MAX_WAITING_BYTES {
            waiting.refuse("too much waits for the producer's client, which is being restarted");
        } else {
            self.waiting_bytes += bytes;
            self.waiting.push_back(waiting);
        }
    }

    /// There is a client again: it sends what waited, in order. Returns how much that was.
    pub(super) fn open(&mut self, client: Sink) -> usize {
        let waited = std::mem::take(&mut self.unsent).into_iter().chain(std::mem::take(&mut self.waiting));
        self.waiting_bytes = 0;
        let mut sent = 0;
        for Waiting { record, reply, since } in waited {
            match client.try_send(&record, reply) {
                None => sent += 1,
                // It has ended already.
                Some(reply) => self.unsent.push_back(Waiting { record, reply, since }),
            }
        }
        self.client = Some(client);
        sent
    }

    /// No client comes, for that reason.
    pub(super) fn close(&mut self, why: &'static str) {
        self.closed = Some(why);
        let waited = std::mem::take(&mut self.unsent).into_iter().chain(std::mem::take(&mut self.waiting));
        for waiting in waited {
            waiting.refuse(why);
        }
        self.waiting_bytes = 0;
    }

    /// A client comes after all: what comes to be sent waits for it.
    pub(super) fn reopen(&mut self) {
        self.closed = None;
    }
}

//! Events and their identity: the contract trait, and the CloudEvents 1.0 binary-mode headers that carry who an event is.

use std::borrow::Cow;
use std::sync::Arc;

use garde::Validate;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::record::{Record, RecordBatch};
use delivery::outcome::{ErrorKind, HandlerError};

/// An event type: its name, its key rule and (by `garde`) its validation.
///
/// The value on the wire is plain JSON, so that any client can be on the other side.
pub trait Contract: Serialize + DeserializeOwned + JsonSchema + Validate<Context = ()> + 'static {
    /// CloudEvents `type`, as `<noun>.<verb or kind>.v<number>`.
    const TYPE: &'static str;

    /// The Kafka key: events of one key are handled in order. `None` where no order is needed.
    fn key(&self) -> Option<String>;
}

/// Names of the headers that carry an event's identity.
pub mod header {
    /// Identity of the event; with the source, unique for ever.
    pub const ID: &str = "ce_id";
    /// Name of the contract.
    pub const TYPE: &str = "ce_type";
    /// The service that made the event.
    pub const SOURCE: &str = "ce_source";
    /// When it was made, RFC 3339.
    pub const TIME: &str = "ce_time";
    /// Version of CloudEvents.
    pub const SPEC_VERSION: &str = "ce_specversion";
    /// Shared by everything that one request set off.
    pub const CORRELATION_ID: &str = "ce_correlationid";
    /// Id of the event that caused this one.
    pub const CAUSATION_ID: &str = "ce_causationid";
    /// W3C trace context, passed on as it came.
    pub const TRACEPARENT: &str = "traceparent";
    /// Media type of the value.
    pub const CONTENT_TYPE: &str = "content-type";
}

/// Namespace for ids derived from the id of the event that caused them (random, fixed for ever).
const DERIVED_IDS: Uuid = Uuid::from_u128(0x8f0e_3c62_51b4_4d0a_9a57_0c2d_6be1_f7a3);

/// Headers longer than this are no identity that we pass on or show.
pub const MAX_IDENTITY_BYTES: usize = 256;

/// A record on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Topic it goes to.
    pub topic: String,
    /// Key, or `None` for a record without order.
    pub key: Option<Vec<u8>>,
    /// Value, or `None` for a tombstone (only a dead letter has one).
    pub value: Option<Vec<u8>>,
    /// Headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What ties a new event to what set it off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correlation {
    /// Passed on; where absent the new event's own id begins a correlation.
    pub correlation_id: Option<String>,
    /// Id of the event that caused the new one.
    pub causation_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A new event, ready to be published.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event's id.
    pub id: String,
    /// Its correlation id.
    pub correlation_id: String,
    /// The record to send.
    pub record: Outgoing,
}

impl NewEvent {
    /// An event that a request triggers: a new id.
    ///
    /// # Errors
    /// When the value cannot be written as JSON, which no derived `Serialize` of plain data does.
    pub fn triggered<E: Contract>(
        source: &str,
        topic: &str,
        event: &E,
        correlation: &Correlation,
    ) -> Result<Self, serde_json::Error> {
        let value = serde_json::to_vec(event)?;
        Ok(Self::with_id::<E>(Uuid::now_v7().to_string(), source, topic, event.key(), value, correlation))
    }

    /// An event that a request triggers, whose value is sent as the caller wrote it: members that the contract
    /// does not know reach the other side too. `value` must decode to `event`.
    #[must_use]
    pub fn triggered_with_value<E: Contract>(
        source: &str,
        topic: &str,
        event: &E,
        value: Vec<u8>,
        correlation: &Correlation,
    ) -> Self {
        Self::with_id::<E>(Uuid::now_v7().to_string(), source, topic, event.key(), value, correlation)
    }

    /// An event that another one causes. Its id follows from the cause's id, the topic and the contract, so a
    /// repeated cause makes the same event again and the receiver can tell.
    ///
    /// # Errors
    /// When the value cannot be written as JSON, which no derived `Serialize` of plain data does.
    pub fn caused_by<C, E: Contract>(
        cause: &Event<C>,
        source: &str,
        topic: &str,
        event: &E,
    ) -> Result<Self, serde_json::Error> {
        // Source and id together are an event's identity.
        let identity = format!("{} {} {topic} {}", cause.source().unwrap_or_default(), cause.id(), E::TYPE);
        let id = Uuid::new_v5(&DERIVED_IDS, identity.as_bytes()).to_string();
        let value = serde_json::to_vec(event)?;
        let correlation = Correlation {
            correlation_id: Some(cause.correlation_id().into_owned()),
            causation_id: Some(cause.id().into_owned()),
            traceparent: cause.traceparent().map(str::to_owned),
        };
        Ok(Self::with_id::<E>(id, source, topic, event.key(), value, &correlation))
    }

    fn with_id<E: Contract>(
        id: String,
        source: &str,
        topic: &str,
        key: Option<String>,
        value: Vec<u8>,
        correlation: &Correlation,
    ) -> Self {
        let correlation_id = correlation.correlation_id.clone().unwrap_or_else(|| id.clone());
        let time = jiff::Timestamp::now();
        let mut headers = vec![
            (header::SPEC_VERSION, "1.0".to_owned()),
            (header::ID, id.clone()),
            (header::TYPE, E::TYPE.to_owned()),
            (header::SOURCE, source.to_owned()),
            (header::TIME, format!("{time:.6}")),
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::CORRELATION_ID, correlation_id.clone()),
        ];
        headers.extend(correlation.causation_id.clone().map(|cause| (header::CAUSATION_ID, cause)));
        headers.extend(correlation.traceparent.clone().map(|trace| (header::TRACEPARENT, trace)));
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))).collect();
        Self {
            id,
            correlation_id,
            record: Outgoing { topic: topic.to_owned(), key: key.map(String::into_bytes), value: Some(value), headers },
        }
    }
}

/// The id of a record as its maker gave it, in `ce_id`.
#[must_use]
pub fn given_id_of<'a>(record: &Record<'a>) -> Option<&'a str> {
    identity(record, header::ID)
}

/// The correlation id of a record as its maker gave it.
#[must_use]
pub fn given_correlation_id_of<'a>(record: &Record<'a>) -> Option<&'a str> {
    identity(record, header::CORRELATION_ID)
}

/// The id of a record: its `ce_id`, or `topic/partition/offset` where it has none.
#[must_use]
pub fn id_of<'a>(record: &Record<'a>) -> Cow<'a, str> {
    given_id_of(record)
        .map_or_else(|| format!("{}/{}/{}", record.topic(), record.partition(), record.offset()).into(), Cow::Borrowed)
}

/// The correlation id of a record; a record without one begins a correlation under its own id.
#[must_use]
pub fn correlation_id_of<'a>(record: &Record<'a>) -> Cow<'a, str> {
    given_correlation_id_of(record).map_or_else(|| id_of(record), Cow::Borrowed)
}

/// A header that is text, neither empty nor too long to be an identity.
fn identity<'a>(record: &Record<'a>, name: &str) -> Option<&'a str> {
    let value = record.header(name).filter(|value| !value.is_empty() && value.len() <= MAX_IDENTITY_BYTES)?;
    std::str::from_utf8(value).ok().filter(|text| !text.chars().any(char::is_control))
}

/// An event of contract `E` as a handler gets it: the decoded value and the record it came in.
pub struct Event<E> {
    value: E,
    batch: Arc<RecordBatch>,
    index: u32,
    attempt: u32,
}

impl<E> Event<E> {
    /// The decoded and validated value.
    pub fn value(&self) -> &E {
        &self.value
    }

    /// The record it came in: coordinates, key, bytes, headers.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        self.batch.record(self.index as usize)
    }

    /// The event's id: from the headers, or `topic/partition/offset`.
    #[must_use]
    pub fn id(&self) -> Cow<'_, str> {
        id_of(&self.record())
    }

    /// Who made it, where it says so.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        identity(&self.record(), header::SOURCE)
    }

    /// Shared by everything that one request set off.
    #[must_use]
    pub fn correlation_id(&self) -> Cow<'_, str> {
        correlation_id_of(&self.record())
    }

    /// W3C trace context, where it came with one.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        identity(&self.record(), header::TRACEPARENT)
    }

    /// Number of this attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl<E: Contract> Event<E> {
    /// Decodes and validates the record at `index`.
    ///
    /// # Errors
    /// [`ErrorKind::Undecodable`] where the value is no JSON of the contract, [`ErrorKind::Invalid`] where its
    /// values break the contract's rules.
    pub(crate) fn decode(batch: &Arc<RecordBatch>, index: u32, attempt: u32) -> Result<Self, HandlerError> {
        let bytes = batch
            .record(index as usize)
            .value()
            .ok_or_else(|| HandlerError::new(ErrorKind::Undecodable, "the value is null, and the contract has none"))?;
        let value: E = read(bytes).map_err(|error| {
            HandlerError::new(ErrorKind::Undecodable, format_args!("not {}: {}", E::TYPE, without_values(&error)))
        })?;
        value.validate().map_err(|report| HandlerError::new(ErrorKind::Invalid, report.to_string().trim_end()))?;
        Ok(Self { value, batch: Arc::clone(batch), index, attempt })
    }
}

/// Checks at once that all of it is text, which takes a fraction of a check of each string. Where it is none, serde
/// says what is wrong, or does not mind: no contract's member need be touched by it.
fn read<E: DeserializeOwned>(bytes: &[u8]) -> Result<E, serde_json::Error> {
    str::from_utf8(bytes).map_or_else(|_| serde_json::from_slice(bytes), serde_json::from_str)
}

/// What serde says, without the values it quotes: they are payload, and errors go to logs.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cut = |from: usize| {
        let expected = text[from..].rfind(", expected").map_or(text.len(), |at| from + at);
        let kept = text[from..expected].find(['`', '"']).map_or(expected, |at| from + at);
        format!("{}{}", text[..kept].trim_end(), &text[expected..])
    };
    let quoting = ["invalid type: ", "invalid value: ", "unknown variant "];
    let found = quoting.iter().find_map(|words| text.find(words).map(|at| at + words.len()));
    found.map_or_else(|| text.clone(), cut)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        One,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)] // only its errors are looked at
    struct Sample {
        number: u8,
        kind: Kind,
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_where_the_contract_reads_them_and_nowhere_else() {
        #[derive(Debug, Deserialize)]
        struct Named {
            name: String,
        }
        assert_eq!(read::<Named>(b"{\"name\":\"J\",\"other\":\"\xff\"}").unwrap().name, "J");
        assert_eq!(read::<Named>("{\"name\":\"\u{fc}\"}".as_bytes()).unwrap().name, "\u{fc}");
        assert!(read::<Named>(b"{\"name\":\"\xff\"}").unwrap_err().to_string().contains("unicode"));
    }

    #[test]
    fn an_error_names_the_place_and_not_the_value() {
        let told = |json: &str| without_values(&serde_json::from_str::<Sample>(json).unwrap_err());
        assert_eq!(told(r#"{"number":"s3cret, expected"}"#), "invalid type: string, expected u8 at line 1 column 28");
        assert_eq!(told(r#"{"number":777}"#), "invalid value: integer, expected u8 at line 1 column 13");
        assert_eq!(told(r#"{"kind":"s3cret"}"#), "unknown variant, expected `one` at line 1 column 16");
        assert_eq!(told(r#"{"number":1}"#), "missing field `kind` at line 1 column 12");
        assert_eq!(told("s3cret"), "expected value at line 1 column 1");
    }
}

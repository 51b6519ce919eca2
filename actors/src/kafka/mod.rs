//! The only module that knows rdkafka: where records come in, where they go out, topics, and the embedded broker.

mod config;
mod context;
mod embedded;
mod stash;
// librdkafka's queue API has no safe binding, and it makes the pipeline 1.4 to 1.7 times as fast as one poll per record.
#[allow(unsafe_code)]
mod ffi;
mod message;
mod notes;
mod offsets;
mod reach;
mod sink;
mod source;
mod statistics;
mod topics;
mod wire;

pub(crate) use config::property_problem;
pub use config::{Broker, KafkaConfig, NOTES_SUFFIX};
pub use embedded::EmbeddedBroker;
pub use message::{Message, SourceEvent};
pub use notes::Notes;
pub use offsets::CommitAnswer;
pub use rdkafka::error::KafkaError;
pub use sink::{Delivery, PublishCause, PublishError, Reply, Sink, SinkEvent};
pub use source::{Source, SourceError};
pub(crate) use statistics::MEASUREMENT_VALID;
pub use topics::{TopicSpec, TopicsError, ensure_topics};

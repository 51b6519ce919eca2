//! What the runs against a real Kafka share: processes that are started, frozen and killed.

pub mod process;

//! Something that a user should be told.

use garde::Validate;
use kafka_actors::Contract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::MAX_USER_ID;

/// Something that a user should be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The user; also the key.
    #[garde(range(min = 1, max = MAX_USER_ID))]
    pub user_id: u64,
    /// What kind of notification it is, such as `welcome` or `info`.
    #[serde(rename = "type")]
    #[garde(length(chars, min = 1, max = 64))]
    pub kind: String,
    /// What the user is told.
    #[garde(length(chars, min = 1, max = 10_000))]
    pub content: String,
}

impl Contract for Notification {
    const TYPE: &'static str = "notification.v1";

    fn key(&self) -> Option<String> {
        Some(self.user_id.to_string())
    }
}

//! Any other event that services tell each other: an object that is passed on as it is.

use garde::Validate;
use kafka_actors::Contract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::MAX_USER_ID;

/// Any other event: an object with at least one member. Where it concerns a user or names an action, those are checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct OtherEvent {
    /// The user it concerns; also the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(range(min = 1, max = MAX_USER_ID))]
    pub user_id: Option<u64>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(length(chars, min = 1, max = 100))]
    pub action: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    #[garde(custom(|rest: &Map<String, Value>, (): &()| not_empty(self, rest)))]
    pub rest: Map<String, Value>,
}

fn not_empty(event: &OtherEvent, rest: &Map<String, Value>) -> garde::Result {
    if event.user_id.is_none() && event.action.is_none() && rest.is_empty() {
        return Err(garde::Error::new("an object with at least one member"));
    }
    Ok(())
}

impl Contract for OtherEvent {
    const TYPE: &'static str = "other.event.v1";

    fn key(&self) -> Option<String> {
        self.user_id.map(|user| user.to_string())
    }
}

//! Something happened to a user.

use garde::Path;
use garde::Validate;
use kafka_actors::Contract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::MAX_USER_ID;

/// Something happened to a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend(
    "if" = {"properties": {"action": {"const": "user_created"}}, "required": ["action"]},
    "then" = {"properties": {"data": {"required": ["fullName"]}}}
))]
pub struct UserEvent {
    /// The user; also the key.
    #[schemars(range(min = 1, max = MAX_USER_ID))]
    pub user_id: u64,
    /// What happened.
    pub action: UserAction,
    /// More about it.
    pub data: UserData,
}

/// What happened to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserAction {
    /// The user is new; the data holds the full name.
    UserCreated,
    /// The user's data changed.
    UserUpdated,
}

/// More about what happened to a user. Members that are not known here are left to those who know them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserData {
    /// The user's full name; a new user has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    pub full_name: Option<String>,
}

const MAX_NAME_CHARS: usize = 200;

// By hand, because a rule spans two fields, and because the paths shall be those of the JSON.
impl Validate for UserEvent {
    type Context = ();

    fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> Path, report: &mut garde::Report) {
        let mut wrong = |path: &[&str], why: String| {
            let path = path.iter().fold(parent(), |path, name| path.join((*name).to_owned()));
            report.append(path, garde::Error::new(why));
        };
        if !(1..=MAX_USER_ID).contains(&self.user_id) {
            wrong(&["userId"], format!("1 to {MAX_USER_ID}"));
        }
        match &self.data.full_name {
            None if self.action == UserAction::UserCreated => wrong(&["data", "fullName"], "is missing".to_owned()),
            Some(name) if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) => {
                wrong(&["data", "fullName"], format!("1 to {MAX_NAME_CHARS} characters"));
            }
            _ => {}
        }
    }
}

impl Contract for UserEvent {
    const TYPE: &'static str = "user.event.v1";

    fn key(&self) -> Option<String> {
        Some(self.user_id.to_string())
    }
}

//! One member of a consumer group: which records are on their way, what is settled of them, what is committed and when.

mod assigned;
mod before;
pub mod commit_pace;
pub mod commits;
pub mod credits;
pub mod frontier;
pub mod hold;
pub mod intake;
pub mod membership;
pub mod note;
pub mod progress_codec;
pub mod stall;

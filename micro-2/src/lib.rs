//! micro-2: answers user events with notifications, and sends notifications itself.

mod app;
mod http;
mod other_events;
mod settings;
mod user_event;

pub use app::APP;
pub use settings::Own;

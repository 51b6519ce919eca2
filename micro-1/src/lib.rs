//! micro-1: sends user events to micro-2, and keeps the notifications that come back.

mod app;
mod http;
mod notification;
mod other_events;
mod settings;
mod store;

pub use app::APP;
pub use settings::Own;

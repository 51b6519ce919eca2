//! The house in order: modules that keep apart, and files next to the code (compose, Dockerfile, `.env.example`, documents)
//! that say what the code says. Nothing is started here; files are read.

// A test that cannot go on panics; that is what its unwraps are for.
#![allow(clippy::unwrap_used, missing_docs)]

mod architecture;
mod circles;
mod compose;
mod documents;
mod dotenv;
mod image;
mod profiles;
mod project;
mod rust;

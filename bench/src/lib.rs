//! Benches and load tools.

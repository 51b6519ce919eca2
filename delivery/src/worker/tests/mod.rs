//! What a worker promises, shown on the worker itself, without a driver and without a clock.

mod lanes;

//! micro-1 alone, against a Kafka cluster.

use std::process::ExitCode;

use kafka_actors::launch::Program;

fn main() -> ExitCode {
    Program::alone("micro-1: sends user events, and keeps the notifications that come back.", &[micro_1::APP]).main()
}

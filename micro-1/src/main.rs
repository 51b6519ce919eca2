//! micro-1 alone, against a Kafka cluster.

use std::process::ExitCode;

use kafka_actors::launch::Program;

fn main() -> ExitCode {
    let about = "micro-1: sends user events, and keeps the notifications that come back.";
    Program { without_brokers: contracts::ways_to_start, ..Program::alone(about, &[micro_1::APP]) }.main()
}

//! micro-2 alone, against a Kafka cluster.

use std::process::ExitCode;

use kafka_actors::launch::Program;

fn main() -> ExitCode {
    let about = "micro-2: answers user events with notifications.";
    Program { without_brokers: contracts::ways_to_start, ..Program::alone(about, &[micro_2::APP]) }.main()
}

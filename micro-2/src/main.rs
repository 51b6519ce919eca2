//! micro-2 alone, against a Kafka cluster.

use std::process::ExitCode;

use kafka_actors::launch::Program;

fn main() -> ExitCode {
    Program::alone("micro-2: answers user events with notifications.", &[micro_2::APP]).main()
}

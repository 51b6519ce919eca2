//! Chaos against a real Kafka: two instances of each service and three brokers, which are killed, frozen, stopped and
//! started under load; then the check that every promise was kept.

mod brokers;
mod check;
mod coordinator;
mod driver;
mod fleet;
mod journals;
mod kcat;
mod options;
mod plan;
mod report;
mod rows;
mod run;
mod story;
mod trouble;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use check::check;
use journals::Journals;
use kafka_actors::settings::{arguments, environment};
use options::{DevKafka, Options, USAGE};
use report::Counts;
use story::Story;
use trouble::{Trouble, failed, invalid};

const FAILED: u8 = 1;
const MISUSED: u8 = 2;
const INVALID: u8 = 3;

fn main() -> ExitCode {
    let Some(options) = Options::read(arguments(), fastrand::u64(..1_000_000)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(MISUSED);
    };
    println!("seed {}, faults for {} s", options.seed, options.lasts.as_secs());
    let trouble = match tempfile::Builder::new().prefix("chaos.").tempdir() {
        Err(error) => Trouble::from(error),
        Ok(folder) => match whole_run(options, folder.path()) {
            Ok(()) => {
                println!("passed: every promise was kept");
                return ExitCode::SUCCESS;
            }
            Err(trouble) => {
                println!("logs and database are kept in {}", folder.keep().display());
                trouble
            }
        },
    };
    println!("seed {}: {trouble}", options.seed);
    ExitCode::from(if matches!(trouble, Trouble::Failed(_)) { FAILED } else { INVALID })
}

fn whole_run(options: Options, folder: &Path) -> Result<(), Trouble> {
    let Some(kafka) = DevKafka::from_environment() else { return invalid(format!("dev/kafka is not there\n{USAGE}")) };
    let program = build_program()?;
    let story = Story::new();
    let evidence = run::run(options, &kafka, &program, folder, &story)?;
    let counts = Counts::of(&evidence, Journals::read(folder)?, story.so_far(), story.elapsed());
    let broken = check(&evidence);
    counts.print();
    if !broken.is_empty() {
        return failed(broken.told());
    }
    let missing = counts.missing();
    if missing.is_empty() { Ok(()) } else { invalid(missing.join("; ")) }
}

/// Builds `standalone` as this program was built, in whose folder it lies.
fn build_program() -> Result<PathBuf, Trouble> {
    let this = env::current_exe()?;
    let folder = this.parent().unwrap_or(Path::new("."));
    let mut command = Command::new(environment().remove("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.args(["build", "--quiet", "--locked", "--package", "standalone"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).status()?;
    let program = folder.join("standalone");
    if status.success() && program.exists() { Ok(program) } else { invalid("`standalone` cannot be built") }
}

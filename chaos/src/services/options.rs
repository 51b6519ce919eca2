//! The command line, and what dev/kafka leaves in the environment.

use std::path::PathBuf;
use std::time::Duration;

use kafka_actors::settings::environment;

/// The short form: some four minutes with what comes before and after.
const SECONDS: u64 = 200;

pub(crate) const USAGE: &str = "\
Usage: dev/kafka --brokers 3 -- cargo run -p chaos --bin chaos -- [--seconds N] [--seed S]

Posts events to two instances of micro-1, with two of micro-2, on three brokers, while instances are killed, frozen,
stopped and started, and brokers killed. Then checks what is left in the topics and in micro-1's database.

  --seconds N  faults begin for so long (default: 200), and up to twice as long until there were 20 kills; 3600 for a
               long run
  --seed S     plans the faults of an earlier run again

Exit codes: 0 every promise was kept, 1 one was broken, 2 unknown arguments, 3 the run shows nothing.";

/// What a run should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// New faults begin for so long.
    pub(crate) lasts: Duration,
    pub(crate) seed: u64,
}

impl Options {
    /// Reads the arguments; `None` where they are not understood.
    pub(crate) fn read(arguments: impl IntoIterator<Item = String>, any_seed: u64) -> Option<Self> {
        let mut options = Self { lasts: Duration::from_secs(SECONDS), seed: any_seed };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let number: u64 = arguments.next()?.parse().ok()?;
            match name.as_str() {
                "--seconds" => options.lasts = Duration::from_secs(number),
                "--seed" => options.seed = number,
                _ => return None,
            }
        }
        Some(options)
    }
}

/// What dev/kafka leaves in the environment.
#[derive(Clone, Debug)]
pub(crate) struct DevKafka {
    pub(crate) addresses: String,
    pub(crate) folder: PathBuf,
    pub(crate) jars: String,
}

impl DevKafka {
    /// `None` where it is not there.
    pub(crate) fn from_environment() -> Option<Self> {
        let mut variables = environment();
        let mut read = |name| variables.remove(name);
        let (addresses, folder) = (read("KAFKA_BROKERS")?, read("KAFKA_DEV_DIR")?.into());
        Some(Self { addresses, folder, jars: read("KAFKA_DEV_JARS")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default_and_what_is_not_understood_is_refused() {
        let read = |line: &str| Options::read(line.split_whitespace().map(str::to_owned), 7);
        let default = Options { lasts: Duration::from_secs(200), seed: 7 };
        assert_eq!(read(""), Some(default));
        assert_eq!(read("--seed 1 --seconds 2"), Some(Options { lasts: Duration::from_secs(2), seed: 1 }));
        for wrong in ["--seed", "--seed x", "--speed 1", "now", "--help"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

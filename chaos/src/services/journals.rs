//! What the instances say of themselves in their logs: how often something came again, and was recognised.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use contracts::topic;
use serde_json::Value;

use crate::trouble::Trouble;

/// What is in the logs of all instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Journals {
    /// Records that came to a handler again: a first attempt at a place at which there was one before. What a killed
    /// instance had no time to write is not counted.
    pub(crate) redelivered: usize,
    /// Notifications that micro-1 recognised as kept.
    pub(crate) duplicates: usize,
    /// Attempts that failed and were followed by another.
    pub(crate) retries: usize,
}

impl Journals {
    /// Reads the logs in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, Trouble> {
        let (mut journals, mut seen) = (Self::default(), Seen::default());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "log") {
                for line in BufReader::new(File::open(path)?).lines() {
                    journals.take(&line?, &mut seen);
                }
            }
        }
        Ok(journals)
    }

    fn take(&mut self, line: &str, seen: &mut Seen) {
        // The last line of a killed instance may be cut off.
        let Ok(entry) = serde_json::from_str::<Value>(line) else { return };
        if entry["message"] != "routed" {
            return;
        }
        let name = entry["topic"].as_str().unwrap_or_default();
        let place = (entry["partition"].as_i64().unwrap_or(-1), entry["offset"].as_i64().unwrap_or(-1));
        if entry["attempt"] == 1 {
            let times = seen.entry(name.to_owned()).or_default().entry(place).or_default();
            self.redelivered += usize::from(*times > 0);
            *times += 1;
        }
        self.duplicates += usize::from(name == topic::NOTIFICATION_EVENTS && entry["outcome"] == "duplicate");
        self.retries += usize::from(entry["outcome"] == "retry");
    }
}

/// First attempts, by topic and place.
type Seen = HashMap<String, HashMap<(i64, i64), u32>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_again_is_told_from_what_was_tried_again() {
        let (mut journals, mut seen) = (Journals::default(), Seen::default());
        let line = |offset: i64, attempt: u64, outcome: &str| {
            format!(
                r#"{{"message":"routed","topic":"notification.events","partition":1,"offset":{offset},"attempt":{attempt},"outcome":"{outcome}"}}"#
            )
        };
        for (offset, attempt, outcome) in [(1, 1, "retry"), (1, 2, "handled"), (2, 1, "handled"), (2, 1, "duplicate")] {
            journals.take(&line(offset, attempt, outcome), &mut seen);
        }
        journals.take("{\"message\":\"routed\",\"top", &mut seen);
        assert_eq!(journals, Journals { redelivered: 1, duplicates: 1, retries: 1 });
    }
}

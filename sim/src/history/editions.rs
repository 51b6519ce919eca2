//! Logs that begin again, and offsets that an operator sets: what was known of the records before is not known of those after.

use super::{Edition, History};

impl History {
    /// Of the records of a partition as they are now.
    pub(crate) fn edition(&self, partition: usize) -> Edition {
        self.editions[partition]
    }

    /// The log of a partition is another one, without any record yet.
    pub(crate) fn log_reset(&mut self, partition: usize) {
        self.report.logs_reset += 1;
        self.logs[partition].clear();
        self.forget(partition, 0);
    }

    /// An operator has the records of a partition handled again from an offset on.
    pub(crate) fn set_by_hand(&mut self, partition: usize, from: i64) {
        self.report.set_by_hand += 1;
        self.forget(partition, from);
        for record in &mut self.logs[partition] {
            record.edition = self.editions[partition];
        }
    }

    fn forget(&mut self, partition: usize, from: i64) {
        self.editions[partition] += 1;
        self.settled.retain(|(of, offset), _| *of != partition || *offset < from);
        self.settled_in.retain(|(tenure, _)| tenure.partition != partition);
        self.attempts.retain(|(tenure, _), _| tenure.partition != partition);
        self.committed.retain(|tenure, _| tenure.partition != partition);
    }
}

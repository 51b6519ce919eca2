//! What is a record on its way through a process?

use std::sync::Arc;

use delivery::assignment::Assignment;
use delivery::worker::Routed;

use crate::history::{Edition, Record, Tenure};

/// A record on its way through the member.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) tenure: Tenure,
    pub(crate) record: Record,
    pub(crate) key: [u8; 1],
    pub(crate) assignment: Arc<Assignment>,
}

impl Routed for Item {
    fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    fn offset(&self) -> i64 {
        self.record.offset
    }

    fn key(&self) -> Option<&[u8]> {
        Some(&self.key)
    }
}

impl Item {
    pub(crate) fn new(tenure: Tenure, record: Record, assignment: &Arc<Assignment>) -> Self {
        Self { tenure, record, key: [record.key], assignment: Arc::clone(assignment) }
    }

    pub(super) fn place(&self) -> (Tenure, Edition, i64) {
        (self.tenure, self.record.edition, self.record.offset)
    }

    pub(super) fn suspect(&self) -> (usize, u8) {
        (self.tenure.partition, self.record.key)
    }

    pub(super) fn key_of(&self) -> (Tenure, u8) {
        (self.tenure, self.record.key)
    }
}

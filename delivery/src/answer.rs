//! What goes back to the consumer's thread for each record: the only thing that flows upstream.

use std::sync::mpsc::Sender;

/// The end of one record's way, named by its assignment and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Slot of the assignment.
    pub slot: u32,
    /// Epoch of the assignment.
    pub epoch: u32,
    /// Offset of the record.
    pub offset: i64,
    /// True: settled. False: given up unstarted, because its partition leaves.
    pub settled: bool,
}

/// Takes answers to the consumer's thread. Not bounded by itself: the credits of the records they answer bound it.
pub type Answers = Sender<Vec<Answer>>;

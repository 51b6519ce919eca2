//! What does a sink of progress know of one partition? The group's commits are one sink, the notes in addition to them
//! are the other.

pub mod codec;
pub(crate) mod commits;
pub mod name;
pub(crate) mod notes;
pub(crate) mod pace;

/// What a sink was told of a partition in this assignment, and what it is known to have.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What was sent and is not answered; one at a time.
    sent: Option<Sent>,
    /// The last offset that it took, and how many settlements it knows with that.
    taken: Option<i64>,
    known_changes: u64,
    /// The next time it is told everything, also what it has.
    again: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    offset: i64,
    changes: u64,
}

impl Progress {
    /// The last offset that the sink took.
    pub(crate) fn taken(&self) -> Option<i64> {
        self.taken
    }

    /// How many settlements it knows.
    pub(crate) fn known_changes(&self) -> u64 {
        self.known_changes
    }

    /// Whether it has to be told everything again.
    pub(crate) fn is_asked_again(&self) -> bool {
        self.again
    }

    /// Has it told everything again, also what it has.
    pub(crate) fn ask_again(&mut self) {
        self.again = true;
    }

    /// Whether an answer is awaited; under that number, where one is given.
    pub(crate) fn awaits(&self, number: Option<u64>) -> bool {
        self.sent.is_some_and(|sent| number.is_none_or(|number| sent.number == number))
    }

    /// It is told an offset, with so many settlements.
    pub(crate) fn sent(&mut self, number: u64, offset: i64, changes: u64) {
        self.again = false;
        self.sent = Some(Sent { number, offset, changes });
    }

    /// It answered. False where this answers nothing that was sent in this assignment.
    pub(crate) fn answered(&mut self, number: u64, taken: bool) -> bool {
        let Some(sent) = self.sent.take_if(|sent| sent.number == number) else { return false };
        if taken {
            self.taken = Some(sent.offset);
            self.known_changes = sent.changes;
        }
        true
    }
}

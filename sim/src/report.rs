//! What happened in a run, in numbers: worlds in which nothing happens prove nothing.

macro_rules! report {
    ($($(#[$doc:meta])+ $name:ident: $what:literal,)+) => {
        /// What happened in a run that kept every promise.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Report {
            /// Hash of the trace.
            pub hash: u64,
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Report {
            /// The numbers with their names.
            #[must_use]
            pub fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$(($what, self.$name)),+]
            }

            /// Adds what happened in another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

report! {
    /// Records in all partitions.
    records: "records",
    /// Records handled or dead-lettered more than once.
    repeated: "repeats",
    /// Records left out because an earlier owner had settled them.
    skipped: "records skipped after a move",
    /// Records moved to the dead-letter topic.
    dead_letters: "dead letters",
    /// Partitions that changed their owner in order.
    clean_moves: "clean moves",
    /// Partitions taken from an owner that was gone, frozen or cut off.
    taken: "partitions taken",
    /// Members that crashed.
    crashes: "crashes",
    /// Clients and threads of consumers that failed.
    consumer_failures: "failures of consumers",
    /// Consumers that joined again, with another client.
    rejoins: "consumers that joined again",
    /// Consumers that failed beyond their budget.
    consumer_probes: "probes of consumers",
    /// Consumers that were given up.
    members_given_up: "consumers given up",
    /// Orders of operators to consumers that were done.
    orders_done: "orders done",
    /// Orders that something overtook.
    orders_overtaken: "orders overtaken",
    /// Partitions whose offset was set by hand.
    set_by_hand: "offsets set by hand",
    /// Logs that began again.
    logs_reset: "logs that began again",
    /// Assignments that began again with their log.
    went_back: "assignments that began again with their log",
    /// Commits that the client could not send.
    unsent: "commits that could not be sent",
    /// Members that were told to stop.
    stops: "stops",
    /// Consumers' threads that had to wait.
    stalls: "stalls of a consumer's thread",
    /// Handlers' actors that were blocked.
    blocked: "blocked threads of handlers",
    /// Members that were frozen.
    freezes: "freezes",
    /// Partitions that had a new owner when the old one thawed.
    zombies: "partitions of zombies",
    /// Times that a member was in doubt whether it still is one.
    doubts: "doubts",
    /// Doubts that the broker ended.
    confirmed: "doubts that ended by a commit",
    /// Members that heard that all is lost.
    losses: "losses heard",
    /// Commits that the broker refused, or whose answer was lost.
    failed_commits: "failed commits",
    /// Notes that the broker took in addition to the group's commits.
    notes: "notes",
    /// Partitions that went on from a note.
    recalled: "partitions that went on from a note",
    /// Answers that were stale.
    stale_answers: "stale answers",
    /// Times that a partition was held although there were credits.
    held: "holds of a partition",
    /// Partitions paused because they had too much on their way.
    paused: "pauses of what had too much on its way",
    /// Times that somebody paused a topic.
    topic_pauses: "pauses of the topic",
    /// Calls that were cancelled at their deadline.
    hung: "hung calls cancelled",
    /// Calls that were cancelled because their partition was another's.
    moved_calls: "calls cancelled by a move",
    /// Calls that panicked.
    panics: "panics",
    /// Handlers that could not be made.
    unmade: "handlers that could not be made",
    /// Breakers that opened.
    opened: "breakers that opened",
    /// Events that were tried while a breaker was open.
    probes: "probes",
    /// Breakers that closed.
    closed: "breakers that closed",
    /// Drivers of workers that panicked.
    driver_panics: "drivers that panicked",
    /// Orders of operators to handlers.
    orders: "orders to handlers",
    /// Handlers that were given up.
    given_up: "handlers given up",
}

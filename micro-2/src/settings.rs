//! micro-2's own settings, in addition to the library's.

use contracts::Chaos;

kafka_actors::settings! {
    /// What micro-2 is told.
    #[derive(Clone, Debug)]
    pub struct Own {
        /// whether events may harm the handlers
        pub chaos: Chaos = nested(),
    }
}

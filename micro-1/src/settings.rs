//! micro-1's own settings, in addition to the library's.

use std::path::PathBuf;

use contracts::Chaos;

kafka_actors::settings! {
    /// What micro-1 is told.
    #[derive(Clone, Debug)]
    pub struct Own {
        /// folder of the service's database; without it `data`, with an embedded broker a temporary one
        pub data_dir: Option<PathBuf> = optional("DATA_DIR", "a folder", |text| Some(text.into())),
        /// whether events may harm the handlers
        pub chaos: Chaos = nested(),
    }
}

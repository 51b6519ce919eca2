//! The states of the actors go to the metrics, each second: a scrape of one service of a process sees those of all.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::journal::{ActorSeen, Journal};
use crate::status::{ActorState, ActorStatus, ActorTree};

/// Scrapers come every ten seconds or so.
const INTERVAL: Duration = Duration::from_secs(1);

/// Begins, and goes on until what it gives is dropped.
pub(super) fn measure(tree: ActorTree, journal: Journal) -> AbortOnDropHandle<()> {
    let states = ActorState::ALL.map(ActorState::as_str);
    AbortOnDropHandle::new(actix::spawn(async move {
        loop {
            for vitals in tree.all() {
                let ActorStatus {
                    path, state, restarts, restarts_in_window, mailbox, in_flight, handled, failed, ..
                } = vitals.status();
                journal.write(ActorSeen {
                    actor: &path,
                    state: state.as_str(),
                    states: &states,
                    restarts: (restarts, restarts_in_window),
                    mailbox,
                    in_flight,
                    handled,
                    failed,
                });
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }))
}

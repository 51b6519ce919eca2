//! Work for the services, in the middle of which they can be stopped, and what shall have come of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kafka_actors::kafka::EmbeddedBroker;
use serde_json::json;

use super::{Database, Out, Raw, new_user, wait_for_count};

/// Numbered events of some users, and what shall be stored of each user in the end, in order.
pub(crate) struct Load {
    pub(crate) kafka: Raw,
    topic: &'static str,
    users: Vec<u64>,
    sent: usize,
}

/// Records that are written together.
pub(crate) const BURST: usize = 200;
/// Bursts in one feeding.
const MAX_BURSTS: usize = 40;

/// Ends the feeding, also where what happens meanwhile panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// User events for micro-2.
    pub(crate) fn user_events(broker: &EmbeddedBroker) -> Self {
        Self::new(broker, "user.events")
    }

    /// Notifications for micro-1.
    pub(crate) fn notifications(broker: &EmbeddedBroker) -> Self {
        Self::new(broker, "notification.events")
    }

    fn new(broker: &EmbeddedBroker, topic: &'static str) -> Self {
        Self { kafka: Raw::new(&broker.bootstrap()), topic, users: (0..20).map(|_| new_user()).collect(), sent: 0 }
    }

    /// Writes the next burst; all of it is acknowledged when this returns.
    pub(crate) fn burst(&mut self) {
        let records: Vec<Out> = (self.sent..self.sent + BURST)
            .map(|number| {
                let user = self.users[number % self.users.len()];
                let event = if self.topic == "user.events" {
                    json!({"userId": user, "action": "user_updated", "data": {"fullName": number.to_string()}})
                } else {
                    json!({"userId": user, "type": "info", "content": updated(number)})
                };
                Out::new(self.topic, user, event.to_string())
            })
            .collect();
        self.kafka.send_all(&records);
        self.sent += BURST;
    }

    /// Goes on writing while something happens, so that it happens under load.
    pub(crate) fn feed_while<T>(&mut self, happens: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // The limit keeps a slow machine from being buried, and the embedded broker from dropping records.
                for _ in 0..MAX_BURSTS {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    self.burst();
                }
            });
            let _over = Over(&over);
            happens()
        })
    }

    pub(crate) fn bursts(&mut self, count: usize) {
        for _ in 0..count {
            self.burst();
        }
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// Waits until micro-1 has stored a notification for each, and checks that there is one each, in order.
    #[track_caller]
    pub(crate) fn assert_stored_once_in_order(&self, database: &mut Database) {
        wait_for_count("every notification", self.sent, || database.count());
        let mut expected: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for number in 0..self.sent {
            expected.entry(self.users[number % self.users.len()]).or_default().push(updated(number));
        }
        let stored = database.contents();
        for (user, contents) in &expected {
            assert_eq!(stored.get(user), Some(contents), "the notifications of user {user}");
        }
        assert_eq!(stored.len(), expected.len());
    }
}

/// What micro-2 tells a user whose name is that number.
fn updated(number: usize) -> String {
    format!("Your profile was updated, {number}.")
}

/// A number below `end` that is another one in each run.
pub(crate) fn random_below(end: usize) -> usize {
    usize::try_from(uuid::Uuid::now_v7().as_u128() & 0xffff).unwrap() % end
}

/// Waits until micro-1 has stored some notifications more, each time another number.
#[track_caller]
pub(crate) fn wait_for_a_random_moment(database: &mut Database) {
    let moment = database.count() + 1 + random_below(2_000);
    wait_for_count("a random moment of the work", moment, || database.count());
}

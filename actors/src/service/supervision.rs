//! Who restarts a service's actors, and where are they seen?

use std::sync::Arc;

use super::route::{Route, SHARD, path_of};
use crate::fatal::Fatal;
use crate::journal::Journal;
use crate::status::{ActorTree, HandlerCounters};
use crate::supervisor::{Commands, Reporter, Restarts};
use delivery::restart_budget::RestartPolicy;

/// Whom to tell of actors, and how often they may be started again.
#[derive(Clone)]
pub(super) struct Supervise {
    pub(super) tree: ActorTree,
    pub(super) policy: RestartPolicy,
    pub(super) journal: Journal,
    pub(super) fatal: Fatal,
    pub(super) commands: Commands,
}

impl Supervise {
    pub(super) fn new(tree: &ActorTree, policy: RestartPolicy, journal: &Journal, fatal: &Fatal) -> Self {
        let (tree, journal, fatal) = (tree.clone(), journal.clone(), fatal.clone());
        Self { commands: Commands::new(journal.clone()), tree, policy, journal, fatal }
    }

    /// What is told of the thread with that path, which obeys operators.
    fn reporter(&self, path: &str) -> Reporter {
        let vitals = self.tree.add(path.to_owned(), self.policy.window);
        Reporter::new(vitals, self.journal.clone(), self.fatal.clone()).obeying(&self.commands)
    }

    /// For the actor with that path, which obeys operators.
    pub(super) fn restarts(&self, path: &str) -> Restarts {
        let vitals = self.tree.add(path.to_owned(), self.policy.window);
        let restarts = Restarts::new(vitals, self.policy, self.journal.clone(), self.fatal.clone());
        restarts.obeying(&self.commands)
    }
}

/// For the actors of the shard, which are seen before they start.
pub(super) struct ShardSupervision {
    pub(super) producer: Restarts,
    pub(super) router: Restarts,
    pub(super) consumer: Restarts,
    pub(super) thread: Reporter,
}

impl ShardSupervision {
    pub(super) fn of(supervise: &Supervise) -> Self {
        let restarts = |actor: &str| supervise.restarts(&format!("{SHARD}/{actor}"));
        let [producer, router, consumer] = ["producer", "router", "consumer"].map(restarts);
        // What is decided about it is decided in `delivery::member`.
        let thread = supervise.reporter(&format!("{SHARD}/consumer/thread"));
        // The actor alone has nothing to do: who stops the consumer wants nothing to be consumed.
        supervise.commands.stops_with(consumer.vitals(), thread.vitals());
        Self { producer, router, consumer, thread }
    }
}

/// Name, topic and counters of the handler of each route.
pub(super) fn counters_of(
    routes: &[Route],
    supervise: &Supervise,
) -> Vec<(&'static str, String, Arc<HandlerCounters>)> {
    let counters = routes.iter().map(|route| {
        let window = route.restart.unwrap_or(supervise.policy).window;
        let vitals = supervise.tree.add(path_of(route, routes), window);
        (route.handler, route.topic.clone(), Arc::new(HandlerCounters::new(vitals)))
    });
    counters.collect()
}

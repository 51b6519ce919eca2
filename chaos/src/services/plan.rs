//! What is done to the services and the brokers, in which order: from a seed, so that a run can be told to do it again.

use std::time::Duration;

/// Instances of each service.
pub(crate) const INSTANCES: usize = 2;
/// Brokers of the cluster.
pub(crate) const BROKERS: usize = 3;

/// Something that is done to the two instances of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; the other takes over, then it is started again.
    Kill(usize),
    /// SIGKILL to both at once, and a new start of both.
    KillBoth,
    /// SIGKILL, a new start at once, and SIGKILL again as soon as it has partitions.
    KillInRebalance(usize),
    /// SIGSTOP until the other has taken over, and SIGCONT.
    Freeze(usize),
    /// SIGTERM, and a new start when the other has taken over.
    Leave(usize),
}

impl Fault {
    /// Name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::KillBoth => "kill both",
            Self::KillInRebalance(_) => "kill in rebalance",
            Self::Freeze(_) => "freeze",
            Self::Leave(_) => "leave, join",
        }
    }
}

/// Longest pause before a fault of a service: each comes at a moment that nothing else has chosen.
const MAX_PAUSE_MS: u64 = 1_500;

/// The faults of one service, without end. Every kind comes once in a round.
pub(crate) struct ServicePlan {
    random: fastrand::Rng,
    round: Vec<Fault>,
}

impl ServicePlan {
    pub(crate) fn new(seed: u64, service: &str) -> Self {
        Self { random: random_for(seed, service), round: Vec::new() }
    }

    /// The next fault, and the pause before it.
    pub(crate) fn next(&mut self) -> (Duration, Fault) {
        let pause = Duration::from_millis(self.random.u64(..MAX_PAUSE_MS));
        loop {
            if let Some(fault) = self.round.pop() {
                return (pause, fault);
            }
            let mut one = || self.random.usize(..INSTANCES);
            self.round = vec![
                Fault::Kill(one()),
                Fault::KillBoth,
                Fault::KillInRebalance(one()),
                Fault::Freeze(one()),
                Fault::Leave(one()),
            ];
            self.random.shuffle(&mut self.round);
        }
    }
}

/// What is done to one broker: SIGKILL after a pause, and a new start some time after the others lead its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokerFault {
    /// Its number, from 1.
    pub(crate) broker: usize,
    /// Before it is killed.
    pub(crate) pause: Duration,
    /// How long it stays away after the others lead.
    pub(crate) away: Duration,
}

/// The faults of the brokers, without end. Each broker comes once in a round.
pub(crate) struct BrokerPlan {
    random: fastrand::Rng,
    round: Vec<usize>,
}

impl BrokerPlan {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: random_for(seed, "brokers"), round: Vec::new() }
    }

    pub(crate) fn next(&mut self) -> BrokerFault {
        if self.round.is_empty() {
            self.round = (1..=BROKERS).collect();
            self.random.shuffle(&mut self.round);
        }
        let broker = self.round.pop().unwrap_or(1);
        let mut millis = |range: std::ops::Range<u64>| Duration::from_millis(self.random.u64(range));
        // Between two of them the services have some time of their own.
        BrokerFault { broker, pause: millis(5_000..15_000), away: millis(0..5_000) }
    }
}

/// Randomness of its own for each part, so that the speed of one does not change what the other does.
fn random_for(seed: u64, part: &str) -> fastrand::Rng {
    let mixed = part.bytes().fold(seed, |mixed, byte| (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    fastrand::Rng::with_seed(mixed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn faults(seed: u64, service: &str) -> Vec<(Duration, Fault)> {
        let mut plan = ServicePlan::new(seed, service);
        (0..50).map(|_| plan.next()).collect()
    }

    #[test]
    fn a_seed_plans_the_same_faults_again_and_another_seed_or_service_others() {
        assert_eq!(faults(7, "micro-1"), faults(7, "micro-1"));
        assert_ne!(faults(7, "micro-1"), faults(8, "micro-1"));
        assert_ne!(faults(7, "micro-1"), faults(7, "micro-2"));
        let brokers = |seed| {
            let mut plan = BrokerPlan::new(seed);
            [plan.next(), plan.next(), plan.next(), plan.next()]
        };
        assert_eq!(brokers(7), brokers(7));
        assert_ne!(brokers(7), brokers(8));
    }

    #[test]
    fn every_round_has_every_kind_of_fault_and_every_broker() {
        for round in faults(1, "micro-1").chunks(5) {
            let kinds: BTreeSet<_> = round.iter().map(|(_, fault)| fault.name()).collect();
            assert_eq!(kinds.len(), 5, "{round:?}");
        }
        let mut plan = BrokerPlan::new(1);
        for _ in 0..10 {
            let round: BTreeSet<_> = (0..BROKERS).map(|_| plan.next().broker).collect();
            assert_eq!(round.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
        }
    }
}

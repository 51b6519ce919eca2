//! What befalls the members, and when: all of it from a seed.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// What befalls a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGTERM, and an end in order.
    Leave,
    /// SIGKILL.
    Kill,
    /// SIGSTOP for longer than the session timeout, then SIGCONT.
    Freeze,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leave => "leave",
            Self::Kill => "kill",
            Self::Freeze => "freeze",
        })
    }
}

/// One step of the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// After the one before.
    pub(crate) after: Duration,
    pub(crate) kind: Kind,
    /// Picks one of those that are there.
    pub(crate) victim: usize,
}

/// Steps every 1.5 to 3 s, for so long. Each kind comes once in every three, in an order of chance.
pub(crate) fn plan(seed: u64, lasts: Duration) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let mut steps = Vec::new();
    let mut round = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        let after = Duration::from_millis(rng.u64(1_500..=3_000));
        at += after;
        if at > lasts {
            return steps;
        }
        if round.is_empty() {
            round = vec![Kind::Leave, Kind::Kill, Kind::Freeze];
            rng.shuffle(&mut round);
        }
        let kind = round.pop().expect("it was filled above");
        steps.push(Step { after, kind, victim: rng.usize(..1_000) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan_with_every_kind_in_it() {
        let plan_of = |seed| plan(seed, Duration::from_secs(45));
        assert_eq!(plan_of(7), plan_of(7));
        assert_ne!(plan_of(7), plan_of(8));
        for kind in [Kind::Leave, Kind::Kill, Kind::Freeze] {
            assert!(plan_of(7).iter().filter(|step| step.kind == kind).count() >= 4);
        }
    }
}

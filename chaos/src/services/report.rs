//! What a run is worth, and its counts.

use std::time::Duration;

use kafka_actors::kafka::NOTES_SUFFIX;

use crate::check::{Evidence, distinct, is_garbage};
use crate::coordinator::Commit;
use crate::driver::Fate;
use crate::journals::Journals;
use crate::story::Told;

/// A run with fewer shows little.
pub(crate) const MIN_KILLS: usize = 20;
const MIN_REBALANCES: usize = 20;
/// The load makes some hundred a second where nothing fails and the machine does nothing else.
const MIN_EVENTS_PER_SECOND: usize = 5;

/// What was counted in a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    seconds: usize,
    acknowledged: usize,
    unknown: usize,
    not_sent: usize,
    logged: usize,
    /// Events that the producer wrote again under the same id.
    written_again: usize,
    garbage: usize,
    rows: usize,
    rebalances: usize,
    commits: usize,
    commits_with_progress: usize,
    /// What the groups took no commit of, by partition.
    notes: usize,
    /// Notifications that were published again, in the log.
    published_again: usize,
    journals: Journals,
    told: Told,
}

impl Counts {
    pub(crate) fn of(evidence: &Evidence, journals: Journals, told: Told, lasted: Duration) -> Self {
        let fates = |wanted: fn(&Fate) -> bool| evidence.posts.iter().filter(|post| wanted(&post.fate)).count();
        let garbage = evidence.events.iter().filter(|record| is_garbage(record)).count();
        let logged = distinct(&evidence.events).len() - garbage;
        let notifications = distinct(&evidence.notifications).len();
        let (notes, commits): (Vec<&Commit>, Vec<&Commit>) =
            evidence.groups.commits.iter().partition(|commit| commit.group.ends_with(NOTES_SUFFIX));
        Self {
            seconds: usize::try_from(lasted.as_secs()).unwrap_or(usize::MAX),
            acknowledged: fates(|fate| matches!(fate, Fate::Acknowledged { .. })),
            unknown: fates(|fate| matches!(fate, Fate::Unknown)),
            not_sent: fates(|fate| matches!(fate, Fate::NotSent)),
            logged,
            written_again: evidence.events.len() - garbage - logged,
            garbage,
            rows: evidence.rows.len(),
            rebalances: evidence.groups.generations.len(),
            commits: commits.len(),
            commits_with_progress: commits.iter().filter(|commit| !commit.settled_above.is_empty()).count(),
            notes: notes.len(),
            published_again: evidence.notifications.len() - notifications,
            journals,
            told,
        }
    }

    /// What is missing for the run to show anything.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut at_least = |what: &str, least: usize, is: usize| {
            if is < least {
                missing.push(format!("{is} {what}, and {least} are the least"));
            }
        };
        at_least("acknowledged events", (self.seconds * MIN_EVENTS_PER_SECOND).max(1), self.acknowledged);
        at_least("kills of instances", MIN_KILLS, self.told.kills);
        at_least("kills of brokers", 1, self.told.broker_kills);
        at_least("rebalances", MIN_REBALANCES, self.rebalances);
        at_least("notifications published again", 1, self.published_again);
        at_least("records handed to a handler again", 1, self.journals.redelivered);
        at_least("duplicates recognised", 1, self.journals.duplicates);
        at_least("records that are no event", 1, self.garbage);
        missing
    }

    pub(crate) fn print(&self) {
        let Self { journals, told, .. } = self;
        println!();
        println!(
            "events          {} acknowledged, {} unknown, {} refused",
            self.acknowledged, self.unknown, self.not_sent
        );
        println!(
            "in the log      {} events, {} of them again, {} records that are none",
            self.logged, self.written_again, self.garbage
        );
        println!("rows            {}", self.rows);
        println!("kills           {} of instances, {} of brokers", told.kills, told.broker_kills);
        println!("rebalances      {}", self.rebalances);
        println!(
            "redeliveries    {} to handlers, {} notifications published again",
            journals.redelivered, self.published_again
        );
        println!("duplicates      {} recognised", journals.duplicates);
        println!("retries         {}", journals.retries);
        println!("commits         {}, {} with progress above the offset", self.commits, self.commits_with_progress);
        println!("notes           {} in second groups, while the first took no commits", self.notes);
        println!("recovery                                     times  median  longest");
        for (what, times) in &told.recoveries {
            let mut times = times.clone();
            times.sort();
            let seconds = |at: usize| times.get(at).map_or(0.0, Duration::as_secs_f64);
            let (median, longest) = (seconds(times.len() / 2), seconds(times.len().saturating_sub(1)));
            println!("  {what:<40} {:>7} {median:>5.1} s {longest:>6.1} s", times.len());
        }
        println!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_redelivery_or_with_too_few_faults_or_events_shows_nothing() {
        let enough = || Counts {
            seconds: 100,
            acknowledged: 500,
            rebalances: 20,
            published_again: 1,
            garbage: 1,
            journals: Journals { redelivered: 1, duplicates: 1, retries: 0 },
            told: Told { kills: 20, broker_kills: 1, ..Told::default() },
            ..Counts::default()
        };
        assert_eq!(enough().missing(), [""; 0]);
        let lacks: [fn(&mut Counts); 8] = [
            |counts| counts.acknowledged -= 1,
            |counts| counts.told.kills -= 1,
            |counts| counts.told.broker_kills -= 1,
            |counts| counts.rebalances -= 1,
            |counts| counts.published_again -= 1,
            |counts| counts.journals.redelivered -= 1,
            |counts| counts.journals.duplicates -= 1,
            |counts| counts.garbage -= 1,
        ];
        for lack in lacks {
            let mut counts = enough();
            lack(&mut counts);
            assert_eq!(counts.missing().len(), 1, "{:?}", counts.missing());
        }
    }
}

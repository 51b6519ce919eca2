//! What the members did, and what of it broke a promise. Pure: times are nanoseconds on the machine's monotonic clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::plan::Kind;

/// Names a record.
pub(crate) type Place = (i32, i64);

/// A record that was fed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fed {
    pub(crate) place: Place,
    pub(crate) key: u32,
    pub(crate) at: u64,
}

/// One handling of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handling {
    pub(crate) member: usize,
    pub(crate) place: Place,
    pub(crate) start: u64,
    /// Nothing where the member was killed, or the call cancelled.
    pub(crate) finish: Option<u64>,
}

/// A fault that took hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) member: usize,
    pub(crate) at: u64,
    /// When a frozen one was thawed, or a killed one was dead.
    pub(crate) until: u64,
}

/// What came of a run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) fed: usize,
    pub(crate) lost: usize,
    /// Finished more than once, by what had befallen the member that finished them first; `None`: nothing had.
    pub(crate) repeated: BTreeMap<Option<Kind>, usize>,
    /// Finished for the first time before an earlier record of the same key.
    pub(crate) disordered: usize,
    /// Worked on by two members at once.
    pub(crate) at_once: usize,
    /// Finished by a member after it was thawed although another had finished it meanwhile.
    pub(crate) late: usize,
    /// Handled by two that were awake under one instance id: one was thawed after another had taken its place, and the
    /// group knows the id only. They push each other out, and neither hears of it before it asks the broker again.
    pub(crate) by_twins: usize,
    pub(crate) longest_stall: Duration,
    pub(crate) stalled_partition: i32,
}

impl Verdict {
    pub(crate) fn repeats(&self) -> usize {
        self.repeated.values().sum()
    }
}

/// What happened to whom, and which members had an instance id in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Story<'a> {
    pub(crate) faults: &'a [Fault],
    /// By member: its instance id; empty where they have none.
    pub(crate) ids: &'a [usize],
}

impl Story<'_> {
    /// Whether two handlings are of members of one id, of which one was thawed before the later began.
    fn twins(&self, one: &Handling, other: &Handling) -> bool {
        let id = |handling: &Handling| self.ids.get(handling.member);
        let of_them = |fault: &&Fault| [one.member, other.member].contains(&fault.member);
        let thawed = |fault: &Fault| fault.kind == Kind::Freeze && fault.until <= one.start.max(other.start);
        id(one).is_some() && id(one) == id(other) && self.faults.iter().filter(of_them).any(thawed)
    }
}

pub(crate) fn judge(fed: &[Fed], handlings: &[Handling], story: &Story<'_>) -> Verdict {
    let faults = story.faults;
    let mut by_place: BTreeMap<Place, Vec<Handling>> = BTreeMap::new();
    for handling in handlings {
        by_place.entry(handling.place).or_default().push(*handling);
    }
    let mut verdict = Verdict { fed: fed.len(), ..Verdict::default() };
    let mut first_finish: BTreeMap<Place, u64> = BTreeMap::new();
    for (place, of_place) in &by_place {
        let mut finished: Vec<&Handling> = of_place.iter().filter(|handling| handling.finish.is_some()).collect();
        finished.sort_by_key(|handling| handling.finish);
        if let Some(first) = finished.first() {
            first_finish.insert(*place, first.finish.unwrap_or_default());
            if finished.len() > 1 {
                for again in &finished[1..] {
                    if finished.iter().any(|before| before.member != again.member && story.twins(before, again)) {
                        verdict.by_twins += 1;
                    } else {
                        *verdict.repeated.entry(cause(first, again, faults)).or_default() += 1;
                    }
                }
            }
        }
        verdict.at_once += usize::from(overlap(of_place, story));
        verdict.late += finished.iter().filter(|handling| is_late(handling, of_place, story)).count();
    }
    verdict.lost = fed.iter().filter(|fed| !first_finish.contains_key(&fed.place)).count();
    verdict.disordered = disordered(fed, &first_finish);
    for partition in fed.iter().map(|fed| fed.place.0).collect::<BTreeSet<_>>() {
        let stall = longest_stall(fed.iter().filter(|fed| fed.place.0 == partition), &first_finish);
        if stall > verdict.longest_stall {
            (verdict.longest_stall, verdict.stalled_partition) = (stall, partition);
        }
    }
    verdict
}

/// Why it was done again: one was frozen over it, or what happened to the one who had finished it first.
fn cause(first: &Handling, again: &Handling, faults: &[Fault]) -> Option<Kind> {
    let over = |fault: &Fault| fault.at > again.start && Some(fault.until) < again.finish;
    let mut of_again = faults.iter().filter(|fault| fault.kind == Kind::Freeze && fault.member == again.member);
    if of_again.any(over) { Some(Kind::Freeze) } else { first_fault(first, again, faults) }
}

/// What happened to the one who had finished it before it was begun again; the first thing, for it kept it from telling.
fn first_fault(first: &Handling, again: &Handling, faults: &[Fault]) -> Option<Kind> {
    let between = |fault: &&Fault| Some(fault.until) >= first.finish && fault.at <= again.start;
    let of_first = faults.iter().filter(|fault| fault.member == first.member).filter(between);
    of_first.min_by_key(|fault| fault.at).map(|fault| fault.kind)
}

/// Whether two members worked on it at once. Without an end, a handling ended when it began: no one knows better.
fn overlap(of_place: &[Handling], story: &Story<'_>) -> bool {
    of_place.iter().enumerate().any(|(at, one)| {
        of_place[at + 1..].iter().any(|other| {
            let end = |handling: &Handling| handling.finish.unwrap_or(handling.start);
            let at_once = one.start < end(other) && other.start < end(one);
            one.member != other.member && at_once && !story.twins(one, other)
        })
    })
}

fn is_late(handling: &Handling, of_place: &[Handling], story: &Story<'_>) -> bool {
    let faults = story.faults;
    let frozen = faults.iter().filter(|fault| fault.kind == Kind::Freeze && fault.member == handling.member);
    let mut frozen = frozen.filter(|fault| Some(fault.until) < handling.finish);
    frozen.any(|fault| {
        of_place.iter().any(|other| {
            let meanwhile = other.member != handling.member && other.start > fault.at && other.finish < handling.finish;
            // What had happened to the other may have been reason enough to do it again.
            meanwhile
                && other.finish.is_some()
                && !story.twins(handling, other)
                && first_fault(other, handling, faults).is_none()
        })
    })
}

fn disordered(fed: &[Fed], first_finish: &BTreeMap<Place, u64>) -> usize {
    let mut by_key: BTreeMap<u32, Vec<Place>> = BTreeMap::new();
    for fed in fed {
        by_key.entry(fed.key).or_default().push(fed.place);
    }
    let mut count = 0;
    for places in by_key.values_mut() {
        places.sort_unstable();
        let mut latest = 0;
        for finish in places.iter().filter_map(|place| first_finish.get(place)) {
            count += usize::from(*finish < latest);
            latest = latest.max(*finish);
        }
    }
    count
}

/// The longest time in which records of a partition waited and none of them was finished.
fn longest_stall<'a>(fed: impl Iterator<Item = &'a Fed>, first_finish: &BTreeMap<Place, u64>) -> Duration {
    // +1 when a record comes, -1 when it is finished for the first time.
    let mut changes: Vec<(u64, i32)> = Vec::new();
    for fed in fed {
        changes.push((fed.at, 1));
        // The delivery report may come after the member has handled the record.
        changes.extend(first_finish.get(&fed.place).map(|finish| ((*finish).max(fed.at), -1)));
    }
    changes.sort_unstable_by_key(|(at, change)| (*at, -change));
    let (mut waiting, mut since, mut longest) = (0, 0, 0);
    for (at, change) in changes {
        if waiting == 0 || change < 0 {
            if waiting > 0 {
                longest = longest.max(at - since);
            }
            since = at;
        }
        waiting += change;
    }
    Duration::from_nanos(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(fed: &[Fed], handlings: &[Handling], faults: &[Fault]) -> Verdict {
        super::judge(fed, handlings, &Story { faults, ids: &[] })
    }

    fn fed(offset: i64, key: u32, at: u64) -> Fed {
        Fed { place: (0, offset), key, at }
    }

    fn handled(member: usize, offset: i64, start: u64, finish: u64) -> Handling {
        Handling { member, place: (0, offset), start, finish: Some(finish) }
    }

    fn fault(kind: Kind, member: usize, at: u64, until: u64) -> Fault {
        Fault { kind, member, at, until }
    }

    #[test]
    fn a_run_in_which_each_is_handled_once_in_order_is_clean() {
        let all = [fed(0, 1, 10), fed(1, 1, 20), fed(2, 2, 25)];
        let handled = [handled(0, 0, 11, 12), handled(0, 2, 26, 27), handled(0, 1, 21, 32)];
        let clean = Verdict { fed: 3, longest_stall: Duration::from_nanos(7), ..Verdict::default() };
        assert_eq!(judge(&all, &handled, &[]), clean);
    }

    #[test]
    fn what_was_never_finished_is_lost() {
        let begun = Handling { finish: None, ..handled(0, 0, 11, 0) };
        assert_eq!(judge(&[fed(0, 1, 10)], &[begun], &[]).lost, 1);
    }

    #[test]
    fn a_repeat_is_laid_to_what_happened_to_the_one_who_had_finished_it() {
        let repeat = [handled(0, 0, 11, 12), handled(1, 0, 50, 51)];
        for kind in [Kind::Kill, Kind::Leave] {
            let verdict = judge(&[fed(0, 1, 10)], &repeat, &[fault(kind, 0, 20, 20), fault(Kind::Kill, 1, 60, 60)]);
            assert_eq!(verdict.repeated, BTreeMap::from([(Some(kind), 1)]));
        }
        assert_eq!(judge(&[fed(0, 1, 10)], &repeat, &[]).repeated, BTreeMap::from([(None, 1)]));
    }

    #[test]
    fn a_repeat_is_laid_to_the_first_thing_that_happened_to_the_one_who_had_finished_it() {
        let repeat = [handled(0, 0, 11, 12), handled(1, 0, 50, 51)];
        let faults = [fault(Kind::Freeze, 0, 20, 30), fault(Kind::Leave, 0, 40, 40)];
        assert_eq!(judge(&[fed(0, 1, 10)], &repeat, &faults).repeated, BTreeMap::from([(Some(Kind::Freeze), 1)]));
    }

    #[test]
    fn two_that_are_awake_under_one_instance_id_are_counted_apart() {
        let all = [fed(0, 1, 10)];
        let twice = [handled(0, 0, 11, 22), handled(1, 0, 12, 23)];
        let judged = |faults: &[Fault], ids: &[usize]| super::judge(&all, &twice, &Story { faults, ids });
        let thawed = judged(&[fault(Kind::Freeze, 0, 1, 10)], &[7, 7]);
        assert_eq!((thawed.by_twins, thawed.repeats(), thawed.at_once), (1, 0, 0));
        for (until, ids) in [(10, &[7, 8][..]), (10, &[]), (20, &[7, 7])] {
            let verdict = judged(&[fault(Kind::Freeze, 0, 1, until)], ids);
            assert_eq!((verdict.by_twins, verdict.repeats(), verdict.at_once), (0, 1, 1), "{until} {ids:?}");
        }
    }

    #[test]
    fn a_key_out_of_order_is_seen() {
        let all = [fed(0, 1, 10), fed(1, 1, 20)];
        let swapped = [handled(0, 1, 21, 22), handled(0, 0, 23, 24)];
        assert_eq!(judge(&all, &swapped, &[]).disordered, 1);
    }

    #[test]
    fn a_frozen_member_that_finishes_what_another_began_is_seen() {
        let frozen = fault(Kind::Freeze, 0, 20, 90);
        let late = [handled(0, 0, 15, 95), handled(1, 0, 60, 62)];
        let verdict = judge(&[fed(0, 1, 10)], &late, &[frozen]);
        assert_eq!((verdict.late, verdict.at_once), (1, 1));
        let before = [handled(0, 0, 15, 18), handled(1, 0, 60, 62)];
        assert_eq!(judge(&[fed(0, 1, 10)], &before, &[frozen]).late, 0);
    }

    #[test]
    fn a_repeat_by_one_that_was_frozen_over_it_is_laid_to_the_freeze() {
        let over = [handled(1, 0, 60, 62), handled(0, 0, 15, 95)];
        let verdict = judge(&[fed(0, 1, 10)], &over, &[fault(Kind::Freeze, 0, 20, 90)]);
        assert_eq!(verdict.repeated, BTreeMap::from([(Some(Kind::Freeze), 1)]));
    }

    #[test]
    fn a_stall_counts_only_while_something_waits() {
        let all = [fed(0, 1, 10), fed(1, 2, 100), fed(2, 2, 110)];
        let handled = [handled(0, 0, 11, 12), handled(0, 1, 130, 140), handled(0, 2, 140, 145)];
        assert_eq!(judge(&all, &handled, &[]).longest_stall, Duration::from_nanos(40));
    }
}

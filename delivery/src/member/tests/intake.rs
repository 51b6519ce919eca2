//! What is polled, answered and assigned again.

use super::*;

#[test]
fn an_answer_from_an_earlier_assignment_moves_nothing() {
    let mut kit = Kit::roomy();
    let (slot, old) = kit.assign("t", 0);
    kit.take(slot, [5, 6]);
    let (same, new) = kit.assign("t", 0);
    assert!(same == slot && new > old && kit.member.free() == 100);
    kit.take(slot, [5]);
    kit.effects();
    kit.member.answered(&[settled(slot, old, 5)]);
    assert_eq!(kit.told(), [Told::StaleAnswers(1)]);
    assert!(kit.commit().is_none());
    kit.member.answered(&[settled(slot, new, 5)]);
    assert_eq!((kit.told(), kit.member.free()), (vec![], 100));
}

#[test]
fn what_is_settled_above_the_frontier_is_committed_too_and_skipped_by_the_next_owner() {
    let mut kit = Kit::roomy();
    let at = kit.assign("t", 0);
    kit.take(at.0, 0..5);
    kit.settle(at, [2, 4]);
    let (_, commits) = kit.commit().unwrap();
    assert_eq!(commits[0].offset, 0);

    let mut next = Kit::new(10, 1000, MAX_METADATA_BYTES);
    let (slot, _) = next.assign("t", 0);
    next.member.go_on_from(commits, Vec::new());
    let tracked: Vec<_> = (0..5).map(|offset| next.track(slot, offset, 10)).collect();
    let (new, before) = (Tracked::New, Tracked::SettledBefore);
    assert_eq!(tracked, [new, new, before, new, before]);
    assert_eq!(next.member.free(), 7);
    next.effects();
    next.member.go_on_from(vec![offset(0, "foreign")], Vec::new());
    assert!(matches!(&next.told()[..], [Told::ProgressUnread(..)]));
}

#[test]
fn a_log_that_goes_back_is_handled_from_there_on() {
    let mut kit = Kit::roomy();
    let (slot, old) = kit.assign("t", 0);
    kit.take(slot, [500, 501]);
    kit.settle((slot, old), [500]);
    let assignment = kit.assignment(slot);
    kit.effects();
    kit.take(slot, [0, 1]);
    kit.member.was_read(BatchSize { records: 2, bytes: 20 });
    assert_eq!(kit.effects(), [Effect::Tell(Told::LogsWentBack(1)), Effect::Seek(at("t", 0), 2)]);
    assert!(assignment.has_ended(), "what is in flight of the old log is given up");
    let new = kit.assignment(slot).epoch;
    assert!(new > old);
    kit.member.answered(&[settled(slot, old, 501)]);
    assert_eq!(kit.told(), [Told::StaleAnswers(1)]);
    kit.settle((slot, new), [0]);
    assert_eq!(offsets(kit.commit().as_ref()), [1], "lower than before, for it is another log");
    assert_eq!(kit.member.free(), 99);
}

#[test]
fn a_leaving_partition_takes_nothing_and_ends_when_all_is_answered() {
    let mut kit = Kit::roomy();
    let (slot, epoch) = kit.assign("t", 0);
    kit.take(slot, [0, 1]);
    kit.effects();
    kit.member.revoked(&[at("t", 0)], kit.now);
    assert_eq!(kit.track(slot, 2, 1), Tracked::Refused);
    kit.member.advance(kit.now);
    assert_eq!(kit.acts(), []);
    kit.member.answered(&[Answer { settled: false, ..settled(slot, epoch, 1) }, settled(slot, epoch, 0)]);
    kit.later(COMMIT_INTERVAL);
    kit.member.advance(kit.now);
    let acts = kit.acts();
    let [Effect::Commit { number, offsets }] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(offsets[0].offset, 1);
    kit.commit_answered(slot, *number, Taken::Yes);
    kit.member.advance(kit.now);
    assert_eq!(kit.acts(), [released(true)]);
    assert_eq!((kit.member.free(), kit.member.owned()), (100, 0));
}

#[test]
fn reading_ends_when_records_or_bytes_are_used_up_and_goes_on_when_they_come_back() {
    let mut kit = Kit::new(2, 100, MAX_METADATA_BYTES);
    let at = kit.assign("t", 0);
    assert_eq!(kit.member.free(), 2);
    kit.take(at.0, [0]);
    assert_eq!((kit.member.free(), kit.member.in_flight()), (1, 1));
    kit.member.regulate(0, kit.now);
    assert_eq!((kit.member.free(), kit.member.reading(BatchSize::default())), (0, None), "the bytes are used up");
    kit.member.regulate(100, kit.now);
    assert_eq!(kit.member.free(), 1);
    kit.settle(at, [0]);
    assert_eq!((kit.member.free(), kit.member.in_flight()), (2, 0));
    assert!(kit.member.reading(BatchSize::default()).is_some());
}

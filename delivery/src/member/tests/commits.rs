//! What is committed, and what the broker is known to have.

use super::*;

#[test]
fn a_commit_counts_when_it_was_answered_and_is_repeated_when_it_was_refused() {
    let mut kit = Kit::roomy();
    let one = kit.assign("t", 0);
    let slot = one.0;
    assert!(kit.commit().is_none(), "nothing polled, nothing to commit");
    kit.take(slot, [0, 1]);
    assert!(kit.commit().is_none(), "nothing settled, nothing to commit");
    kit.settle(one, [0]);
    let first = kit.commit();
    assert_eq!(offsets(first.as_ref()), [1]);
    let first = first.unwrap().0;
    kit.settle(one, [1]);
    assert!(kit.commit().is_none(), "one at a time");
    kit.commit_answered(slot, first, Taken::Unknown);
    let second = kit.commit();
    assert_eq!(offsets(second.as_ref()), [2]);
    kit.commit_answered(slot, first, Taken::Yes);
    assert!(kit.is_uncommitted(slot), "an answer to an earlier commit says nothing of this one");
    kit.commit_answered(slot, second.unwrap().0, Taken::Yes);
    assert!(!kit.is_uncommitted(slot) && kit.commit().is_none());
}

#[test]
fn what_the_broker_has_is_said_again_where_that_is_asked_for() {
    let mut kit = Kit::roomy();
    let one = kit.assign("t", 0);
    let slot = one.0;
    let ask = |kit: &mut Kit| kit.member.commits.ask(&mut kit.member.partitions, kit.now);
    assert_eq!(ask(&mut kit), (0, false), "nothing polled, nothing to say");
    kit.take(slot, [0, 1]);
    kit.settle(one, [0]);
    let first = kit.commit().unwrap().0;
    kit.commit_answered(slot, first, Taken::Yes);
    assert!(kit.commit().is_none());
    let (last, any) = ask(&mut kit);
    let again = kit.commit();
    assert!(any && offsets(again.as_ref()) == [1]);
    let again = again.unwrap().0;
    assert!(again > last);
    kit.commit_answered(slot, again, Taken::Unknown);
    let once_more = kit.commit();
    assert_eq!(offsets(once_more.as_ref()), [1], "a refusal answers nothing");
    kit.commit_answered(slot, once_more.unwrap().0, Taken::Yes);
    assert!(kit.commit().is_none());
}

#[test]
fn a_commit_that_could_not_be_sent_is_sent_again_and_troubles_no_pace() {
    let mut kit = Kit::roomy();
    let one = kit.assign("t", 0);
    kit.take(one.0, [0]);
    kit.settle(one, [0]);
    let (number, _) = kit.commit().unwrap();
    kit.member.commit_not_sent(number);
    kit.later(Duration::from_secs(1));
    assert!(!kit.member.commits.are_troubled(kit.now));
    assert_eq!(offsets(kit.commit().as_ref()), [1]);
}

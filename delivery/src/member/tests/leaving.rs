//! Partitions that are lost, and a member that leaves.

use super::effect::End;
use super::*;

#[test]
fn lost_partitions_are_released_at_once_and_nothing_of_them_is_committed() {
    let mut kit = Kit::roomy();
    let one = kit.assign("t", 0);
    kit.take(one.0, 0..3);
    kit.settle(one, [0]);
    let assignment = kit.assignment(one.0);
    let changes = kit.lease.changes();
    kit.effects();
    kit.member.lost(vec![at("t", 0)], kit.now);
    assert_eq!(kit.acts(), [released(false)]);
    assert!(assignment.has_ended() && kit.lease.changes() > changes);
    kit.later(COMMIT_INTERVAL);
    kit.member.advance(kit.now);
    assert_eq!((kit.acts(), kit.member.free()), (vec![], 100));
}

#[test]
fn a_member_that_is_told_to_stop_reads_nothing_more_finishes_commits_and_leaves() {
    let mut kit = Kit::roomy();
    let one = kit.assign("t", 0);
    kit.take(one.0, 0..2);
    kit.settle(one, [0]);
    kit.effects();
    kit.member.drain(DRAIN, kit.now);
    assert_eq!(kit.member.reading(BatchSize::default()), None);
    assert_eq!(kit.member.state(), MemberState::Draining);
    kit.settle(one, [1]);
    kit.member.advance(kit.now);
    let acts = kit.acts();
    let [Effect::Commit { number, .. }] = &acts[..] else { panic!("{acts:?}") };
    kit.commit_answered(one.0, *number, Taken::Yes);
    kit.member.advance(kit.now);
    assert_eq!(kit.acts(), [Effect::LeaveGroup]);
    kit.member.revoked(&[at("t", 0)], kit.now);
    kit.member.advance(kit.now);
    let end = Effect::End(End::Stopped { in_order: true });
    assert_eq!(kit.acts(), [released(true), end]);
    assert_eq!(kit.member.state(), MemberState::Stopped);
}

#[test]
fn a_member_that_leaves_waits_for_a_rebalance_that_waits_for_another() {
    let mut kit = Kit::roomy();
    kit.assign("t", 0);
    kit.member.measured(true, []);
    kit.member.drain(Duration::ZERO, kit.now);
    kit.effects();
    kit.member.advance(kit.now);
    assert_eq!(kit.acts(), []);
    kit.member.measured(false, []);
    kit.member.advance(kit.now);
    assert_eq!(kit.acts(), [Effect::LeaveGroup]);
}

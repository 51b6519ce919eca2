//! A member that fails, and one that an operator has leave and join again.

use super::effect::{End, Order};
use super::hold::PauseCause;
use super::*;

fn acts_and_state(kit: &mut Kit) -> (Vec<Effect>, MemberState) {
    (kit.acts(), kit.member.state())
}

#[test]
fn one_that_begins_again_numbers_on_and_owns_nothing() {
    let mut kit = Kit::roomy();
    kit.assign("other", 0);
    let (slot, epoch) = kit.assign("t", 0);
    kit.member.pause_topic("other", PauseCause::Operator, true);
    kit.take(slot, 5..8);
    kit.settle((slot, epoch), [5]);
    let (number, _) = kit.commit().unwrap();
    let assignment = kit.assignment(slot);
    kit.effects();
    kit.member.failed(&Failure::Panic("no".to_owned()), kit.now, 0.5);
    assert!(assignment.has_ended() && !kit.lease.holds(kit.now));
    assert_eq!(acts_and_state(&mut kit), (vec![Effect::CloseClient], MemberState::Joining));
    assert_eq!((kit.member.owned(), kit.member.in_flight(), kit.member.free()), (0, 0, 100));
    kit.member.answered(&[settled(slot, epoch, 6)]);
    assert_eq!(kit.told(), [Told::StaleAnswers(1)]);
    kit.member.turn(kit.now);
    assert_eq!(kit.acts(), [Effect::OpenClient], "the first restarts are at once");
    kit.member.turn(kit.now);
    assert_eq!(kit.acts(), [], "once");
    kit.member.opened(kit.now);
    let (again, later) = kit.assign("t", 0);
    assert!(again == slot && later > epoch);
    kit.take(slot, 5..8);
    kit.effects();
    kit.member.answered(&[settled(slot, epoch, 5)]);
    assert_eq!(kit.told(), [Told::StaleAnswers(1)]);
    kit.settle((slot, later), [5]);
    assert!(kit.commit().unwrap().0 > number);
    assert!(kit.member.is_paused("other", PauseCause::Operator));
}

#[test]
fn what_was_to_be_done_with_a_client_goes_with_it_and_what_is_told_does_not() {
    let mut kit = Kit::roomy();
    kit.assign("t", 0);
    kit.member.failed(&Failure::Client("broken".to_owned()), kit.now, 0.5);
    let effects = kit.effects();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Accept { .. })), "{effects:?}");
    assert!(effects.contains(&Effect::Tell(Told::Assigned(vec![at("t", 0)]))), "{effects:?}");
}

#[test]
fn a_member_that_an_operator_stops_leaves_in_order_and_stays_out_until_it_is_started() {
    let mut kit = Kit::roomy();
    kit.assign("t", 0);
    kit.effects();
    kit.member.order(1, Order::Stop, kit.now);
    assert!(!kit.member.obeys(), "the next order waits");
    kit.member.advance(kit.now);
    assert_eq!(kit.acts(), [Effect::LeaveGroup]);
    kit.member.revoked(&[at("t", 0)], kit.now);
    kit.member.advance(kit.now);
    let (acts, state) = acts_and_state(&mut kit);
    let left = Effect::Report(1, Ok("left the group, and stays out of it until it is started"));
    // Closing the client waits for the release.
    let release = released(true);
    assert_eq!((acts, state), (vec![release, Effect::CloseClient, left], MemberState::Stopped));
    for _ in 0..100 {
        kit.later(Duration::from_mins(1));
        kit.member.turn(kit.now);
        assert!(kit.lease.holds(kit.now), "what waits in the workers finds out that it is over");
    }
    assert_eq!(kit.acts(), []);
    kit.member.order(2, Order::Start, kit.now);
    kit.member.turn(kit.now);
    assert_eq!(kit.acts(), [Effect::OpenClient]);
    kit.member.opened(kit.now);
    assert_eq!(kit.acts(), [Effect::Report(2, Ok("joins the group with another client"))]);
    assert_eq!(kit.member.state(), MemberState::Joining);
}

#[test]
fn an_order_that_a_failure_or_the_end_of_the_service_overtakes_is_told_so() {
    let mut kit = Kit::roomy();
    let (slot, _) = kit.assign("t", 0);
    kit.take(slot, [0]);
    kit.member.order(1, Order::JoinAgain, kit.now);
    kit.effects();
    kit.member.failed(&Failure::Client("broken".to_owned()), kit.now, 0.5);
    let why = "it did not leave the group in order, and joins it again: broken".to_owned();
    assert_eq!(kit.acts(), [Effect::CloseClient, Effect::Report(1, Err(why))]);
    kit.member.order(2, Order::Start, kit.now);
    kit.member.order(3, Order::Stop, kit.now);
    let [Effect::Report(2, Err(_)), Effect::Report(3, Ok(_))] = &kit.acts()[..] else { panic!() };
    kit.member.order(4, Order::Start, kit.now);
    kit.member.drain(DRAIN, kit.now);
    let end = Effect::End(End::Stopped { in_order: true });
    assert_eq!(kit.acts(), [Effect::Report(4, Err("the service ends".to_owned())), end]);
}

#[test]
fn a_failure_while_the_service_ends_ends_it() {
    let mut kit = Kit::roomy();
    let (slot, _) = kit.assign("t", 0);
    kit.take(slot, [0]);
    kit.effects();
    kit.member.drain(DRAIN, kit.now);
    kit.member.failed(&Failure::Panic("no".to_owned()), kit.now, 0.5);
    assert_eq!(kit.acts(), [Effect::CloseClient, Effect::End(End::Stopped { in_order: false })]);
}

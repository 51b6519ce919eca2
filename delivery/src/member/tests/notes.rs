//! What is noted while the group takes no commits, and what counts of it.

use super::*;

fn commit_of(kit: &mut Kit) -> (u64, PartitionOffset) {
    let (number, mut commits) = kit.commit().unwrap();
    (number, commits.remove(0))
}

/// A member whose partition goes on from that commit, with so many records taken; and its assignment.
fn going_on_from(commit: &PartitionOffset, records: i64) -> (Kit, (u32, u32)) {
    let mut kit = Kit::roomy();
    let one = kit.assign("t", 0);
    kit.member.go_on_from(vec![commit.clone()], Vec::new());
    kit.take(one.0, 0..records);
    (kit, one)
}

/// A commit is begun and answered; gives it.
fn committed(kit: &mut Kit, slot: u32, taken: Taken) -> PartitionOffset {
    let (number, commit) = commit_of(kit);
    kit.commit_answered(slot, number, taken);
    commit
}

/// What a member that goes on from there finds settled of the first twenty offsets.
fn settled_before(commit: &PartitionOffset, note: Option<&PartitionOffset>) -> Vec<i64> {
    let mut kit = Kit::roomy();
    let (slot, _) = kit.assign("t", 0);
    kit.member.go_on_from(vec![commit.clone()], note.cloned().into_iter().collect());
    let from = commit.offset.max(0);
    (from..20).filter(|offset| kit.track(slot, *offset, 1) == Tracked::SettledBefore).collect()
}

#[test]
fn what_the_group_takes_no_commit_of_is_noted_and_the_next_owner_leaves_it_out() {
    let mut kit = Kit::roomy();
    let one = kit.assign("t", 0);
    let slot = one.0;
    kit.take(slot, 0..20);
    kit.settle(one, [0, 1, 3]);
    assert!(kit.note().is_none() && kit.is_unsaid(slot), "there is no commit to go on from");
    let first = committed(&mut kit, slot, Taken::Yes);
    assert!(kit.note().is_none() && !kit.is_unsaid(slot), "the group's commit says it");
    kit.settle(one, [2, 5]);
    let (_, on_its_way) = commit_of(&mut kit);
    kit.settle(one, [4, 6, 9]);
    let (number, mut notes) = kit.note().unwrap();
    let note = notes.remove(0);
    assert!(kit.note().is_none() && kit.is_unsaid(slot), "one at a time");
    kit.note_answered(slot, number, Taken::Yes);
    assert!(!kit.is_unsaid(slot) && kit.is_uncommitted(slot));

    // The commit that was on its way may have come or not.
    assert_eq!(settled_before(&first, Some(&note)), [2, 3, 4, 5, 6, 9]);
    assert_eq!(settled_before(&on_its_way, Some(&note)), [4, 5, 6, 9]);
    assert_eq!(settled_before(&first, None), [3]);
}

#[test]
fn a_note_is_outdated_by_a_later_commit_and_by_setting_the_offsets() {
    let mut kit = Kit::roomy();
    let one = kit.assign("t", 0);
    let slot = one.0;
    kit.take(slot, 0..20);
    kit.settle(one, [0]);
    committed(&mut kit, slot, Taken::Yes);
    kit.settle(one, 1..10);
    let note = kit.note().unwrap().1.remove(0);
    let later = committed(&mut kit, slot, Taken::Yes);
    assert_eq!(settled_before(&later, Some(&note)), [0; 0]);
    for offset in [0, 1] {
        let by_hand = super::offset(offset, "");
        assert_eq!(
            settled_before(&by_hand, Some(&note)),
            [0; 0],
            "an operator has these handled again, also from the same one"
        );
    }
}

#[test]
fn after_an_offset_was_set_by_hand_nothing_is_noted_before_the_next_commit() {
    let (mut kit, one @ (slot, _)) = going_on_from(&offset(0, ""), 3);
    kit.settle(one, [0]);
    assert!(kit.is_unsaid(slot) && kit.note().is_none());
    committed(&mut kit, slot, Taken::Yes);
    kit.settle(one, [1]);
    assert!(kit.note().is_some());
}

#[test]
fn commits_that_were_surely_refused_take_no_name_from_one_that_may_have_been_taken() {
    let (mut kit, one @ (slot, _)) = going_on_from(&offset(0, "~1"), 20);
    kit.settle(one, [0]);
    let taken = committed(&mut kit, slot, Taken::Unknown);
    for offset in 1..10 {
        kit.settle(one, [offset]);
        committed(&mut kit, slot, Taken::No);
    }
    let note = kit.note().unwrap().1.remove(0);
    assert_eq!(settled_before(&taken, Some(&note)), (1..10).collect::<Vec<_>>());
}

#[test]
fn a_note_counts_also_with_a_commit_whose_answer_was_lost() {
    let (mut kit, one @ (slot, _)) = going_on_from(&offset(0, "~1"), 20);
    kit.settle(one, [0]);
    // The broker took it, and no one heard of that.
    let taken = committed(&mut kit, slot, Taken::Unknown);
    kit.settle(one, [1, 2, 3]);
    committed(&mut kit, slot, Taken::Unknown);
    let note = kit.note().unwrap().1.remove(0);
    assert_eq!(settled_before(&taken, Some(&note)), [1, 2, 3]);
}

#[test]
fn a_refused_note_is_written_again_from_a_newer_state() {
    let (mut kit, one @ (slot, _)) = going_on_from(&offset(0, "~1"), 3);
    kit.settle(one, [0]);
    let (refused, notes) = kit.note().unwrap();
    assert_eq!(notes[0].offset, 1);
    kit.settle(one, [1]);
    kit.note_answered(slot, refused, Taken::No);
    let (number, notes) = kit.note().unwrap();
    assert_eq!(notes[0].offset, 2);
    kit.note_answered(slot, refused, Taken::Yes);
    assert!(kit.is_unsaid(slot), "an answer to an earlier note says nothing of this one");
    kit.note_answered(slot, number, Taken::Yes);
    assert!(!kit.is_unsaid(slot));
}

//! How the programs are built: panics unwind, for all that survives them depends on that, and none is on demand.

use crate::project::{members, read};

#[test]
fn panics_unwind_in_every_profile_that_a_program_is_built_with_and_the_manifest_says_why() {
    let manifest = read("Cargo.toml");
    for profile in ["dev", "release"] {
        let (_, section) = manifest.split_once(&format!("[profile.{profile}]\n")).unwrap();
        let section = section.split("\n[").next().unwrap();
        let lines: Vec<&str> = section.lines().collect();
        let at = lines.iter().position(|line| *line == "panic = \"unwind\"");
        let at = at.unwrap_or_else(|| panic!("profile {profile} does not say it"));
        assert!(at > 0 && lines[at - 1].starts_with("# "), "profile {profile} does not say why");
    }
    assert!(!manifest.contains("panic = \"abort\""));
}

#[test]
fn panics_on_demand_are_for_the_librarys_own_tests_alone() {
    let naming: Vec<String> =
        members().into_iter().filter(|member| read(&format!("{member}/Cargo.toml")).contains("faults")).collect();
    assert_eq!(naming, ["actors"]);
    let manifest = read("actors/Cargo.toml");
    assert!(manifest.contains("\nfaults = []\n") && !manifest.contains("\ndefault = "));
    let (before, tests) = manifest.split_once("[dev-dependencies]").unwrap();
    assert!(tests.contains("features = [\"faults\"]") && !before.contains("\"faults\""));
}

#[test]
fn bugs_on_purpose_are_for_the_simulators_tests_alone() {
    let naming: Vec<String> =
        members().into_iter().filter(|member| read(&format!("{member}/Cargo.toml")).contains("sabotage")).collect();
    assert_eq!(naming, ["delivery", "sim"]);
    let manifest = read("sim/Cargo.toml");
    let (before, tests) = manifest.split_once("[dev-dependencies]").unwrap();
    assert!(tests.contains("features = [\"sabotage\"]") && !before.contains("sabotage"));
    assert!(!read("delivery/Cargo.toml").contains("\ndefault = "));
}

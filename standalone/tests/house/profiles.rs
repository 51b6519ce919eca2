//! How the programs are built: panics unwind, for all that survives them stands on that.

use crate::project::read;

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

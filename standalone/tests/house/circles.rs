//! Files of a crate import from each other in one direction: there is no circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::project::{files, members, read};
use crate::rust::Source;

/// The module that a file is, from its crate's root on.
fn module(crate_folder: &str, file: &str) -> Vec<String> {
    let path = file.strip_prefix(&format!("{crate_folder}/src/")).unwrap().strip_suffix(".rs").unwrap();
    path.split('/').filter(|name| !matches!(*name, "mod" | "lib" | "main")).map(str::to_owned).collect()
}

/// The module that a path in a module leads to, as far as files go. A parent that shows a name again is passed by: where
/// that name is defined is imported from.
fn target(path: &[String], own: &[String], modules: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let (mut at, rest) = match path[0].as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (own.to_vec(), &path[1..]),
        "super" => (own[..own.len().checked_sub(ups)?].to_vec(), &path[ups..]),
        _ => return None,
    };
    for name in rest {
        let mut next = at.clone();
        next.push(name.clone());
        if !modules.contains(&next) {
            break;
        }
        at = next;
    }
    // A folder's own file and the crate's root only show what their files have.
    (!own.starts_with(&at)).then_some(at)
}

/// The imports of each module of a crate.
fn imports(crate_folder: &str) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let files = files(&format!("{crate_folder}/src"), ".rs");
    let tests = |file: &String| file.contains("/tests/");
    let files: Vec<String> = files.into_iter().filter(|file| !tests(file)).collect();
    let modules: BTreeSet<Vec<String>> = files.iter().map(|file| module(crate_folder, file)).collect();
    let of = |file: &String| {
        let own = module(crate_folder, file);
        let source = Source::of(&read(file));
        let targets = source.paths.iter().filter_map(|path| target(path, &own, &modules)).collect();
        (own, targets)
    };
    files.iter().map(of).collect()
}

/// Modules that can be reached from a module.
fn reached<'a>(
    from: &'a [String],
    imports: &'a BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
) -> BTreeSet<&'a Vec<String>> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&Vec<String>> = imports.get(from).into_iter().flatten().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(imports.get(next).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn files_do_not_import_from_each_other_in_a_circle() {
    let mut seen = 0;
    for member in members() {
        let imports = imports(&member);
        seen += imports.values().map(BTreeSet::len).sum::<usize>();
        for module in imports.keys().filter(|module| !module.is_empty()) {
            // A folder's own file is its wiring: it names its files, and they name its types.
            let is_folder = imports.keys().any(|other| other.len() > module.len() && other.starts_with(module));
            let comes_back = reached(module, &imports).contains(module);
            assert!(is_folder || !comes_back, "{member}: {} imports from files that import from it", module.join("::"));
        }
    }
    assert!(seen > 300, "only {seen} imports were found");
}

#[test]
fn a_circle_would_be_found() {
    let of = |name: &str| vec![name.to_owned()];
    let imports = BTreeMap::from([
        (of("a"), BTreeSet::from([of("b")])),
        (of("b"), BTreeSet::from([of("c")])),
        (of("c"), BTreeSet::from([of("a")])),
        (of("d"), BTreeSet::from([of("a")])),
    ]);
    assert!(reached(&of("a"), &imports).contains(&of("a")));
    assert!(!reached(&of("d"), &imports).contains(&of("d")));
}

//! The `Dockerfile` and `.dockerignore`, read as text: versions, names, features and the user are those of the project.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::project::{APPS, is_known, members, read, root, services};

/// The instructions, each on one line.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let (name, rest) = line.split_once(' ').unwrap();
            (name.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

fn all(wanted: &str) -> Vec<String> {
    instructions().into_iter().filter(|(name, _)| name == wanted).map(|(_, rest)| rest).collect()
}

/// The instructions of one stage, without its `FROM`.
fn stage(wanted: &str) -> Vec<(String, String)> {
    let mut within = false;
    instructions()
        .into_iter()
        .filter(|(name, rest)| {
            if name == "FROM" {
                within = rest.ends_with(&format!(" AS {wanted}"));
            }
            within && name != "FROM"
        })
        .collect()
}

/// What the build's `RUN` mounts and does before it builds, and what comes from there on.
fn build_run() -> (String, String) {
    let run = all("RUN").into_iter().find(|run| run.contains("cargo build")).unwrap();
    let (before, build) = run.split_once("cargo build ").unwrap();
    (before.to_owned(), build.to_owned())
}

/// The words of the build's command.
fn build() -> Vec<String> {
    let (_, command) = build_run();
    let (command, _) = command.split_once("&&").unwrap();
    command.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn it_builds_with_the_toolchain_of_the_project() {
    let toolchain = read("rust-toolchain.toml");
    let (_, channel) = toolchain.split_once("channel = \"").unwrap();
    let (channel, _) = channel.split_once('"').unwrap();
    let builder = &all("FROM")[0];
    assert!(builder.starts_with(&format!("rust:{channel}-slim-")), "{builder} is not {channel}");
}

#[test]
fn what_is_built_runs_on_the_same_debian() {
    let images = all("FROM");
    let debian = images[0].split(' ').next().unwrap().rsplit('-').next().unwrap().to_owned();
    assert!(images[1].starts_with(&format!("debian:{debian}-slim ")), "{images:?}");
}

#[test]
fn every_image_comes_with_a_tag_that_does_not_move_to_another_release() {
    let stages: BTreeSet<String> =
        all("FROM").iter().map(|from| from.split_once(" AS ").unwrap().1.to_owned()).collect();
    for from in all("FROM") {
        let image = from.split(' ').next().unwrap();
        let pinned = image.split_once(':').is_some_and(|(_, tag)| !tag.contains("latest") && !tag.contains("stable"));
        assert!(stages.contains(image) || pinned, "{from}");
    }
}

#[test]
fn it_builds_packages_of_the_workspace_from_the_lock_file_with_tls() {
    let build = build();
    for flag in ["--release", "--locked"] {
        assert!(build.iter().any(|word| word == flag), "no {flag}");
    }
    let packages: Vec<&String> = build.windows(2).filter(|words| words[0] == "-p").map(|words| &words[1]).collect();
    assert_eq!(packages, services().map(|service| service.service));
    let features = &build[build.iter().position(|word| word == "--features").unwrap() + 1];
    assert_eq!(*features, services().map(|service| format!("{}/tls", service.service)).join(","));
    for package in packages {
        assert!(members().contains(package), "{package} is no package of the workspace");
        let manifest = read(&format!("{package}/Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{package}\"")) && manifest.contains("\ntls = ["), "{package}");
        assert!(root().join(package).join("src/main.rs").is_file(), "{package} has no program");
    }
    // The feature wants OpenSSL: its headers where it is built, its library where it runs.
    assert!(all("RUN")[0].contains(" libssl-dev "));
    assert!(stage("runtime")[0].1.contains(" libssl3 "));
}

#[test]
fn what_it_packs_is_built_from_the_files_that_were_copied_whatever_the_cache_holds() {
    let (before, _) = build_run();
    let (mounts, steps): (Vec<&str>, Vec<&str>) = before.split(' ').partition(|word| word.starts_with("--mount="));
    let mount = mounts.iter().find(|mount| mount.split(',').any(|option| option == "target=/src/target")).unwrap();
    assert!(mount.split(',').any(|option| option == "sharing=locked"), "builds at the same time would mix: {mount}");

    // What comes before the build is run on files of last year, and on a cache that was filled since.
    let folder = tempfile::tempdir().unwrap();
    let year = Duration::from_hours(365 * 24);
    let write = |path: &str, age: Duration| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    };
    let modified = |path: &str| folder.path().join(path).metadata().unwrap().modified().unwrap();
    let sources = ["Cargo.toml", "micro-1/Cargo.toml", "micro-1/src/main.rs", "micro-1/migrations/1 first.sql"];
    for source in sources {
        write(source, year);
    }
    let cached = "target/release/micro-1.d";
    write(cached, year / 2);
    let built = modified(cached);
    let steps = format!("set -e; {} true", steps.join(" "));
    assert!(Command::new("sh").args(["-c", &steps]).current_dir(folder.path()).status().unwrap().success(), "{steps}");
    for source in sources {
        assert!(modified(source) > built, "cargo would take {source} for built already");
    }
    assert_eq!(modified(cached), built, "what is cached would be built again");
}

#[test]
fn there_is_a_target_for_each_service_with_its_program_ports_and_health_check() {
    for service in services() {
        let name = service.service;
        let stage = stage(name);
        let one = |wanted: &str| {
            let mut found = stage.iter().filter(|(name, _)| name == wanted).map(|(_, rest)| rest.as_str());
            found.next().unwrap_or_else(|| panic!("{name} has no {wanted}"))
        };
        assert_eq!(one("COPY"), format!("--from=builder /out/{name} /usr/local/bin/{name}"));
        assert_eq!(one("ENTRYPOINT"), format!("[\"{name}\"]"));
        assert_eq!(one("EXPOSE"), format!("{} {}", service.port, service.management_port));
        assert!(one("HEALTHCHECK").ends_with(&format!("CMD [\"{name}\", \"healthcheck\"]")));
    }
}

#[test]
fn nothing_in_it_runs_as_root() {
    let runtime = stage("runtime");
    let (_, user) = runtime.iter().find(|(name, _)| name == "USER").unwrap();
    let id: u32 = user.split(':').next().unwrap().parse().unwrap();
    assert!(id > 0);
    for service in services() {
        assert!(all("FROM").contains(&format!("runtime AS {}", service.service)));
        assert!(stage(service.service).iter().all(|(name, _)| name != "USER" && name != "RUN"));
    }
}

#[test]
fn the_variables_it_sets_are_settings() {
    for app in APPS {
        let service = app.defaults.service;
        let stages = stage("runtime").into_iter().chain(stage(service));
        let set: Vec<String> = stages.filter(|(name, _)| name == "ENV").map(|(_, rest)| rest).collect();
        let names: Vec<&str> =
            set.iter().flat_map(|line| line.split(' ')).map(|pair| pair.split_once('=').unwrap().0).collect();
        assert_eq!(names.contains(&"DATA_DIR"), service == "micro-1", "{service}: {names:?}");
        for name in names {
            assert!(is_known(name, &app.table()), "{service}: {name}");
        }
    }
}

#[test]
fn the_build_gets_every_member_of_the_workspace_and_no_secret() {
    let ignore = read(".dockerignore");
    let lines: Vec<&str> = ignore.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines[0], "*", "everything is left out but for what is named");
    let mut let_in: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix('!')).collect();
    let mut expected = members();
    expected.extend(["Cargo.toml".to_owned(), "Cargo.lock".to_owned()]);
    let_in.sort_unstable();
    expected.sort();
    assert_eq!(let_in, expected);
    // The last one counts.
    let last = lines.iter().rposition(|line| line.starts_with('!')).unwrap();
    for left_out in ["**/.env", "**/target", "**/*.db"] {
        assert!(lines[last..].contains(&left_out), "{left_out}");
    }
}

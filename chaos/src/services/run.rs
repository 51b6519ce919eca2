//! A run from its start to the evidence: services under load while faults happen to them and to the brokers.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use contracts::topic;
use kafka_actors::dead_letter;
use kafka_actors::kafka::NOTES_SUFFIX;

use crate::brokers::Brokers;
use crate::check::{Evidence, GARBAGE};
use crate::coordinator::{self, Groups};
use crate::driver::{self, Post};
use crate::fleet::{Doors, Pair, Setting, data_folder};
use crate::kcat::Kcat;
use crate::options::{DevKafka, Options};
use crate::plan::{BrokerPlan, ServicePlan};
use crate::report::MIN_KILLS;
use crate::rows::Rows;
use crate::story::Story;
use crate::trouble::{Trouble, invalid, wait_for};

/// Until all that was posted is handled once nothing fails any more.
const SETTLE_DEADLINE: Duration = Duration::from_mins(2);
/// Between two pieces of garbage.
const GARBAGE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at whether a part of the run has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Does all that is planned; what is left behind.
pub(crate) fn run(
    options: Options,
    kafka: &DevKafka,
    program: &Path,
    folder: &Path,
    story: &Story,
) -> Result<Evidence, Trouble> {
    let kcat = Kcat::new(&kafka.addresses)?;
    let DevKafka { addresses, folder: kafka_dir, jars } = kafka.clone();
    let brokers = Brokers { folder: kafka_dir.clone(), jars, addresses: addresses.clone(), kcat: &kcat, story };
    brokers.check_fresh()?;
    story.say("creates the topics");
    brokers.create_topics()?;

    let setting = Setting { program: program.to_owned(), brokers: addresses, kafka_dir, folder: folder.to_owned() };
    let (doors, inner_doors) = (Doors::default(), Doors::default());
    let mut micro_1 = Pair::new("micro-1", &setting, story, &doors)?;
    let mut micro_2 = Pair::new("micro-2", &setting, story, &inner_doors)?;
    micro_1.start_both()?;
    micro_2.start_both()?;
    let mut rows = Rows::open(&data_folder(folder))?;
    let witness = Rows::open(&data_folder(folder))?;

    let over = Over::default();
    let (posts, observations) = thread::scope(|scope| {
        let witness = scope.spawn(|| over.unless(witness.watch(&over.all)));
        let posts = suffer_under_load(options, &brokers, [&mut micro_1, &mut micro_2], &doors, &over);
        let posts = posts.and_then(|posts| Ok((posts, settles([&mut micro_1, &mut micro_2], &kcat)?)));
        over.all.store(true, Ordering::Relaxed);
        (posts, ended(witness))
    });
    let ((posts, settled), observations) = (posts?, observations?);
    story.say(if settled { "all is handled" } else { "not all is handled, although nothing fails any more" });
    micro_1.stop_both()?;
    micro_2.stop_both()?;

    story.say("reads what is left");
    let letters = |name: &str| kcat.read(&format!("{name}{}", dead_letter::SUFFIX));
    Ok(Evidence {
        posts,
        settled,
        events: kcat.read(topic::USER_EVENTS)?,
        notifications: kcat.read(topic::NOTIFICATION_EVENTS)?,
        event_letters: letters(topic::USER_EVENTS)?,
        notification_letters: letters(topic::NOTIFICATION_EVENTS)?,
        rows: rows.all()?,
        observations,
        groups: read_groups(&kcat)?,
    })
}

/// Posts events while faults happen, each part on a thread of its own; ends when the last fault is healed.
fn suffer_under_load(
    options: Options,
    brokers: &Brokers<'_>,
    [micro_1, micro_2]: [&mut Pair<'_>; 2],
    doors: &Doors,
    over: &Over,
) -> Result<Vec<Post>, Trouble> {
    let Options { seed, lasts } = options;
    thread::scope(|scope| {
        let load = scope.spawn(|| over.unless(driver::drive(doors, &over.load)));
        let parts = [
            scope.spawn(|| over.unless(harm_service(micro_1, ServicePlan::new(seed, "micro-1"), over))),
            scope.spawn(|| over.unless(harm_service(micro_2, ServicePlan::new(seed, "micro-2"), over))),
            scope.spawn(|| over.unless(harm_brokers(brokers, BrokerPlan::new(seed), over))),
            scope.spawn(|| over.unless(write_garbage(brokers.kcat, seed, over))),
        ];
        over.pause(lasts);
        let until = Instant::now() + lasts;
        while brokers.story.so_far().kills < MIN_KILLS && Instant::now() < until && over.pause(POLL_INTERVAL) {}
        over.faults.store(true, Ordering::Relaxed);
        let healed = parts.into_iter().try_for_each(ended);
        over.load.store(true, Ordering::Relaxed);
        let posts = ended(load);
        healed?;
        brokers.story.say("all is healed");
        posts
    })
}

/// Waits until all is handled and committed; false when that does not come.
fn settles([micro_1, micro_2]: [&mut Pair<'_>; 2], kcat: &Kcat) -> Result<bool, Trouble> {
    let settled = wait_for(SETTLE_DEADLINE, || {
        let at_rest = micro_1.lag()? == Some(0) && micro_2.lag()? == Some(0);
        Ok((at_rest && all_is_committed(kcat)).then_some(()))
    })?;
    Ok(settled.is_some())
}

/// What is over: by turns the faults, the load, and all.
#[derive(Default)]
struct Over {
    faults: AtomicBool,
    load: AtomicBool,
    all: AtomicBool,
}

impl Over {
    fn everything(&self) {
        for part in [&self.faults, &self.load, &self.all] {
            part.store(true, Ordering::Relaxed);
        }
    }

    /// When one part fails, no one works on.
    fn unless<T>(&self, done: Result<T, Trouble>) -> Result<T, Trouble> {
        if done.is_err() {
            self.everything();
        }
        done
    }

    /// Sleeps; false when the faults are over.
    fn pause(&self, pause: Duration) -> bool {
        let mut left = pause;
        while !left.is_zero() && !self.faults.load(Ordering::Relaxed) {
            let part = left.min(POLL_INTERVAL);
            thread::sleep(part);
            left -= part;
        }
        !self.faults.load(Ordering::Relaxed)
    }
}

fn ended<T>(part: ScopedJoinHandle<'_, Result<T, Trouble>>) -> Result<T, Trouble> {
    part.join().unwrap_or_else(|_| invalid("a part of the run panicked"))
}

fn harm_service(pair: &mut Pair<'_>, mut plan: ServicePlan, over: &Over) -> Result<(), Trouble> {
    loop {
        let (pause, fault) = plan.next();
        if !over.pause(pause) {
            return Ok(());
        }
        pair.suffer(fault)?;
    }
}

fn harm_brokers(brokers: &Brokers<'_>, mut plan: BrokerPlan, over: &Over) -> Result<(), Trouble> {
    loop {
        let fault = plan.next();
        if !over.pause(fault.pause) {
            return Ok(());
        }
        brokers.suffer(fault)?;
    }
}

/// Writes what is no event under the keys of users, among their events.
fn write_garbage(kcat: &Kcat, seed: u64, over: &Over) -> Result<(), Trouble> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut number = 0;
    while over.pause(GARBAGE_INTERVAL) {
        number += 1;
        let user = random.u64(1..=driver::USERS).to_string();
        kcat.write(topic::USER_EVENTS, &user, &format!("{GARBAGE}{number}"))?;
    }
    Ok(())
}

fn read_groups(kcat: &Kcat) -> Result<Groups, Trouble> {
    let records = kcat.read(coordinator::TOPIC)?;
    Groups::read(&records).map_err(Trouble::Invalid)
}

/// Whether the last commits are at the ends of the two topics. What cannot be asked now is asked again.
fn all_is_committed(kcat: &Kcat) -> bool {
    let look = || -> Result<bool, Trouble> {
        let groups = read_groups(kcat)?;
        for name in [topic::USER_EVENTS, topic::NOTIFICATION_EVENTS] {
            for (partition, end) in kcat.ends(name)? {
                // A note is no commit.
                let of_partition = |it: &&coordinator::Commit| {
                    it.topic == name && it.partition == partition && !it.group.ends_with(NOTES_SUFFIX)
                };
                let committed = groups.commits.iter().rev().find(of_partition).map_or(0, |commit| commit.offset);
                if committed != end {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    };
    look().unwrap_or(false)
}

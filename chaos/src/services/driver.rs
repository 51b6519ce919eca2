//! The load: posts events to micro-1, the next of a key only when the one before was answered, and keeps what was said of
//! each.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use contracts::topic;
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::fleet::Doors;
use crate::plan::INSTANCES;
use crate::trouble::Trouble;

/// Users, who are the keys.
pub(crate) const USERS: u64 = 200;
/// Each has a part of the users.
const THREADS: u64 = 8;
/// Between two posts of a thread, so that the services are met at work and not buried: the machine is small.
const PAUSE: Duration = Duration::from_millis(25);
/// An answer comes within 5 s (`PUBLISH_DEADLINE_MS`), or the instance is frozen.
const ANSWER_DEADLINE: Duration = Duration::from_secs(6);
/// An instance that did not answer is left alone for so long where the other one is there.
const AVOIDED: Duration = Duration::from_secs(2);

/// What was said of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// 200: it is in Kafka, here.
    Acknowledged { id: String, partition: i32, offset: i64 },
    /// 503, or no one listened: it is not in Kafka. Or 408, from a server that was frozen before it had read the request.
    NotSent,
    /// 504, or no answer: it may be in Kafka.
    Unknown,
    /// An answer that no event of this load deserves.
    Strange(String),
}

/// An event as it was posted. A number is never used again, whatever came of it: for the services, what is posted again
/// is another event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) user: u64,
    /// Number of the event among those of its user; they were posted in this order.
    pub(crate) number: u64,
    pub(crate) fate: Fate,
}

impl Post {
    /// What tells it from all others: it is sent as the correlation id and as the name of the user.
    pub(crate) fn mark(&self) -> String {
        format!("{}-{}", self.user, self.number)
    }
}

/// Posts until it is told to stop; everything that was posted.
pub(crate) fn drive(doors: &Doors, over: &AtomicBool) -> Result<Vec<Post>, Trouble> {
    let client = Client::builder().timeout(ANSWER_DEADLINE).build()?;
    let posts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for first in 1..=THREADS {
            let (client, posts) = (&client, &posts);
            scope.spawn(move || {
                let users: Vec<u64> = (first..=USERS).step_by(usize::try_from(THREADS).unwrap_or(1)).collect();
                let done = drive_users(client, doors, &users, over);
                posts.lock().unwrap_or_else(PoisonError::into_inner).extend(done);
            });
        }
    });
    Ok(posts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn drive_users(client: &Client, doors: &Doors, users: &[u64], over: &AtomicBool) -> Vec<Post> {
    let mut posts = Vec::new();
    let mut avoided_until = [Instant::now(); INSTANCES];
    for number in 0.. {
        for (at, user) in users.iter().enumerate() {
            if over.load(Ordering::Relaxed) {
                return posts;
            }
            // By turns; the other one where this one did not answer.
            let turn = (at + usize::try_from(number).unwrap_or(0)) % INSTANCES;
            let now = Instant::now();
            let instance = (turn..).take(INSTANCES).map(|one| one % INSTANCES).find(|one| now >= avoided_until[*one]);
            let instance = instance.unwrap_or(turn);
            let mut post = Post { user: *user, number, fate: Fate::NotSent };
            if let Some(address) = doors.of(instance) {
                let answered = send(client, &address, &mut post);
                if !answered {
                    avoided_until[instance] = Instant::now() + AVOIDED;
                }
            }
            posts.push(post);
            thread::sleep(PAUSE);
        }
    }
    posts
}

/// Posts it and notes its fate; whether somebody answered.
fn send(client: &Client, address: &str, post: &mut Post) -> bool {
    let mark = post.mark();
    let message = json!({"userId": post.user, "action": "user_updated", "data": {"fullName": mark}});
    let body = json!({"message": message, "topic": topic::USER_EVENTS});
    let request = client.post(format!("http://{address}/api/kafka/send-to-micro2")).header("x-correlation-id", mark);
    let request = request.header("content-type", "application/json").body(body.to_string());
    match request.send().and_then(|answer| Ok((answer.status().as_u16(), answer.bytes()?))) {
        Ok((status, body)) => {
            post.fate = fate(status, &body);
            true
        }
        Err(error) => {
            post.fate = if error.is_connect() { Fate::NotSent } else { Fate::Unknown };
            false
        }
    }
}

/// What an answer says.
fn fate(status: u16, body: &[u8]) -> Fate {
    let strange = || Fate::Strange(format!("{status} {}", String::from_utf8_lossy(body)));
    match status {
        200 => {
            let answer: Value = serde_json::from_slice(body).unwrap_or_default();
            let data = &answer["data"];
            let place = (|| {
                let partition = i32::try_from(data["partition"].as_i64()?).ok()?;
                Some((data["id"].as_str()?.to_owned(), partition, data["offset"].as_i64()?))
            })();
            place.map_or_else(strange, |(id, partition, offset)| Fate::Acknowledged { id, partition, offset })
        }
        408 | 503 => Fate::NotSent,
        504 => Fate::Unknown,
        _ => strange(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_promises_a_place_or_nothing_or_is_strange() {
        let body = br#"{"data":{"id":"i","partition":3,"offset":4}}"#;
        assert_eq!(fate(200, body), Fate::Acknowledged { id: "i".into(), partition: 3, offset: 4 });
        assert_eq!([408, 503, 504].map(|status| fate(status, b"{}")), [Fate::NotSent, Fate::NotSent, Fate::Unknown]);
        assert_eq!(fate(200, b"{}"), Fate::Strange("200 {}".into()));
        assert_eq!(fate(502, b"refused"), Fate::Strange("502 refused".into()));
    }
}

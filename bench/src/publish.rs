//! Posts events to a running micro-1, one caller after the other, and prints how long the acknowledgement took.
//!
//! `cargo run --release` in one terminal, `cargo run --release -p bench --bin publish [POSTS] [URL]` in another.

// A bench that cannot go on panics.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use kafka_actors::settings::arguments;

fn main() {
    let words = arguments();
    let posts: usize = words.first().map_or(1_000, |word| word.parse().expect("the number of posts"));
    let base = words.get(1).map_or("http://127.0.0.1:3333", String::as_str);
    let url = format!("{base}/api/kafka/send-to-micro2");
    let client = reqwest::blocking::Client::new();
    let mut took: Vec<Duration> = (1..=posts)
        .map(|user| {
            let message = serde_json::json!({"userId": user, "action": "user_created", "data": {"fullName": "A B"}});
            let request = client.post(&url).json(&serde_json::json!({"message": message, "topic": "user.events"}));
            let began = Instant::now();
            let response = request.send().unwrap();
            assert_eq!(response.status(), 200, "{}", response.text().unwrap());
            // The whole body has come.
            drop(response.bytes().unwrap());
            began.elapsed()
        })
        .collect();
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!("{posts} posts, one caller: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}", at(50), at(90), at(99), at(100));
}

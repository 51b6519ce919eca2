//! An operator: requests to a service's listeners, and commands to its actors.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kafka_actors::service::Service;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{GIVE_UP, Publisher, Step};

/// Sends a request and gives status and body of the answer.
pub(crate) async fn request(to: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    let request = format!("{head}content-type: application/json\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// Gives an actor a command; gives status and body of the answer.
pub(crate) async fn give(service: &Service, path: &str, verb: &str) -> (u16, Value) {
    request(service.management(), "POST", &format!("/actors/{path}:{verb}"), "").await
}

/// What became of a command that was taken, once it has ended.
pub(crate) async fn ended(service: &Service, command: &Value) -> Value {
    let began = Instant::now();
    loop {
        let (_, now) = request(service.management(), "GET", command["links"]["self"].as_str().unwrap(), "").await;
        if now["state"] != "pending" {
            return now;
        }
        assert!(began.elapsed() < GIVE_UP, "waited for the end of {now}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Gives an actor a command and waits until it is done.
pub(crate) async fn done(service: &Service, path: &str, verb: &str) {
    let (status, command) = give(service, path, verb).await;
    assert_eq!(status, 202, "{command}");
    let command = ended(service, &command).await;
    assert_eq!(command["state"], "done", "{command}");
}

/// Publishes steps from that number on until `commands` are over; gives the number after the last.
pub(crate) async fn under_load(
    (publisher, topic): (&Publisher, &str),
    step: fn(u32) -> Step,
    from: u32,
    commands: impl Future<Output = ()>,
) -> u32 {
    let over = Cell::new(false);
    let load = async {
        let mut number = from;
        while !over.get() {
            publisher.publish_to(topic, &step(number)).await;
            number += 1;
        }
        number
    };
    let commands = async {
        commands.await;
        over.set(true);
    };
    futures_util::join!(load, commands).0
}

/// Whether a service is not ready, and says that an operator stopped that actor.
pub(crate) fn says_stopped(service: &Service, path: &str) -> bool {
    let readiness = service.health().readiness();
    !readiness.ready && readiness.reasons.contains(&format!("{path} is stopped by an operator"))
}

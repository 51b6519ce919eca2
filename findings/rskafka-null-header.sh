#!/usr/bin/env bash
# Expected: rskafka, the pure Rust client, reads a record that has a header with a null value: as none, or, since its
#   headers are a map of bytes, as empty.
# Instead: fetch_records fails with "Malformed data: out of range integral type conversion attempted". Not only that
#   record is unreadable but everything fetched with it: a reader that goes on from its last offset gets the same
#   error for ever. Null keys and null values are read as expected.
# Versions: rskafka (crates.io) 0.6.0, confluent-kafka (PyPI) 2.12.2 is producer and broker (its mock cluster).
#   Seen 2026-11-28.
# Why it matters: null header values are valid (length -1 in the record format) and written by Java, librdkafka and Go
#   clients; a router hands them on. One of them stops an rskafka reader of that partition.
# What to do: if an rskafka program reads a topic, send no null header values to it; to get past one, fetch from an
#   offset behind its batch.
# Needs: Rust 1.80 or newer with cargo, Python 3.9 or newer.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check confluent-kafka==2.12.2

mkdir src
cat >Cargo.toml <<'END'
[package]
name = "finding"
version = "0.1.0"
edition = "2021"

[dependencies]
rskafka = { version = "=0.6.0", default-features = false }
tokio = { version = "1.38", default-features = false, features = ["rt"] }

[profile.dev]
debug = false
incremental = false
END
cat >src/main.rs <<'END'
use rskafka::client::{partition::UnknownTopicHandling, ClientBuilder};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = std::env::args().nth(1).unwrap();
        let client = ClientBuilder::new(vec![address]).build().await.unwrap();
        for topic in ["plain", "null-value", "null-key", "empty-header", "null-header"] {
            let partition = client.partition_client(topic, 0, UnknownTopicHandling::Retry).await.unwrap();
            match partition.fetch_records(0, 1..1_000_000, 1_000).await {
                Ok((records, _)) => println!("{topic}: {} records", records.len()),
                Err(error) => println!("{topic}: {error}"),
            }
        }
    });
}
END
cargo build --quiet >cargo.log 2>&1 || { cat cargo.log >&2; exit 2; }

cat >finding.py <<'END'
import subprocess

from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
node = next(iter(producer.list_topics(timeout=10).brokers.values()))
for topic, middle in [
    ("plain", {}), ("null-value", {"value": None}), ("null-key", {"key": None}),
    ("empty-header", {"headers": [("note", b"")]}), ("null-header", {"headers": [("note", None)]}),
]:
    for record in ({}, middle, {}):
        producer.produce(topic, **{"partition": 0, "key": b"k", "value": b"v"} | record)
    assert producer.flush(10) == 0
print(subprocess.run(
    ["target/debug/finding", f"{node.host}:{node.port}"], check=True, capture_output=True, text=True).stdout, end="")
END

stated='rskafka 0.6.0
plain: 3 records
null-value: 3 records
null-key: 3 records
empty-header: 3 records
null-header: Request error: Cannot read versioned data: Read error: Malformed data: out of range integral type conversion attempted'
seen=$(
  echo "rskafka $(sed -n '/^name = "rskafka"/{n;s/[^0-9.]//g;p}' Cargo.lock)"
  venv/bin/python finding.py
)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

#!/usr/bin/env bash
# Expected: a program that copies records from one topic to another with segmentio's kafka-go writes what it has read.
# Instead: its Reader gives nil for an empty key, value or header value as well as for a null one, and its Writer
#   makes null of nil. So an empty value becomes a tombstone, an empty key no key, an empty header value a null one.
#   (The Writer does send an empty slice as empty; the Reader just never returns one.)
# Versions: github.com/segmentio/kafka-go v0.4.51; confluent-kafka (PyPI) 2.12.2 is broker and witness.
#   Seen 2026-11-28.
# Why it matters: in a compacted topic an empty value says "this key exists" (a set); copied with kafka-go, by a bridge
#   or a redrive tool, it says "delete this key". Null keys go to another partition and are refused by such topics.
# What to do: do not use empty keys or values with a meaning of their own where a kafka-go program is on the way.
# Needs: Go 1.23 or newer, Python 3.9 or newer.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check confluent-kafka==2.12.2

cat >main.go <<'END'
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/segmentio/kafka-go"
)

func main() {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == "github.com/segmentio/kafka-go" {
			fmt.Println(m.Path, m.Version)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: os.Args[1:], Topic: "in", MaxWait: 200 * time.Millisecond})
	first := kafka.BalancerFunc(func(_ kafka.Message, partitions ...int) int { return partitions[0] })
	writer := &kafka.Writer{
		Addr: kafka.TCP(os.Args[1]), Topic: "out", Balancer: first, RequiredAcks: kafka.RequireAll,
		BatchTimeout: 10 * time.Millisecond,
	}
	for range 3 {
		m, err := reader.ReadMessage(ctx)
		if err != nil {
			panic(err)
		}
		if err := writer.WriteMessages(ctx, kafka.Message{Key: m.Key, Value: m.Value, Headers: m.Headers}); err != nil {
			panic(err)
		}
	}
	last := kafka.Message{Key: []byte{}, Value: []byte{}}
	if err := writer.WriteMessages(ctx, last); err != nil {
		panic(err)
	}
}
END
{
  go mod init finding
  go get github.com/segmentio/kafka-go@v0.4.51
  go mod tidy
  go build -o copy .
} >go.log 2>&1 || { cat go.log >&2; exit 2; }

cat >finding.py <<'END'
import subprocess

from confluent_kafka import Consumer, Producer, TopicPartition

producer = Producer({
    "bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0, "allow.auto.create.topics": True})
metadata = producer.list_topics(timeout=10)
node = next(iter(metadata.brokers.values()))
address = f"{node.host}:{node.port}"
for key, value, headers in [(b"a", b"1", []), (b"b", b"", [("null", None), ("empty", b"")]), (b"", None, [])]:
    producer.produce("in", value, key, partition=0, headers=headers)
producer.produce("out", b"first", partition=0)
assert producer.flush(10) == 0


def read(topic, count):
    consumer = Consumer({"bootstrap.servers": address, "group.id": "witness", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    while count:
        message = consumer.poll(10)
        assert message is not None and not message.error()
        if message.value() != b"first":
            print(f"  key {message.key()}, value {message.value()}, headers {message.headers()}")
            count -= 1
    consumer.close()


print("in:")
read("in", 3)
print(subprocess.run(["./copy", address], check=True, capture_output=True, text=True).stdout.strip())
print("out, and one more that the program made with empty slices:")
read("out", 4)
END

stated='in:
  key b'\''a'\'', value b'\''1'\'', headers None
  key b'\''b'\'', value b'\'''\'', headers [('\''null'\'', None), ('\''empty'\'', b'\'''\'')]
  key b'\'''\'', value None, headers None
github.com/segmentio/kafka-go v0.4.51
out, and one more that the program made with empty slices:
  key b'\''a'\'', value b'\''1'\'', headers None
  key b'\''b'\'', value None, headers [('\''null'\'', None), ('\''empty'\'', None)]
  key None, value None, headers None
  key b'\'''\'', value b'\'''\'', headers None'
seen=$(venv/bin/python finding.py)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

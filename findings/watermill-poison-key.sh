#!/usr/bin/env bash
# Expected: a message that Watermill's poison queue middleware moves to a dead letter topic keeps its Kafka key.
# Instead: Watermill's messages have no key. DefaultMarshaler reads value and headers of a record and writes value and
#   headers; the key is on neither side, so the dead letter, and any message a router forwards, has a null key. Of
#   headers with the same name only the last one is left.
# Versions: github.com/ThreeDotsLabs/watermill-kafka/v3 v3.0.6, github.com/ThreeDotsLabs/watermill v1.4.3,
#   github.com/IBM/sarama v1.43.3. Seen 2026-11-28.
# Why it matters: who reads the dead letters back by key, or expects events of one user in order in one partition,
#   has lost that for good: nothing in the dead letter names the key. A compacted topic refuses such records.
# What to do: kafka.NewWithPartitioningMarshaler with a function that takes kafka.MessageKeyFromCtx of the message's
#   context; readers of such dead letters must find the key in the value.
# Needs: Go 1.23 or newer.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

cat >main.go <<'END'
package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// As kafka.Publisher, but shows the record instead of sending it.
type publisher struct{}

func (publisher) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		record, err := kafka.DefaultMarshaler{}.Marshal(topic, m)
		if err != nil {
			return err
		}
		value, _ := record.Value.Encode()
		fmt.Printf("dead letter: topic %s, key nil %t, value %s\n", record.Topic, record.Key == nil, value)
		for _, h := range record.Headers {
			if string(h.Key) == "tag" {
				fmt.Printf("  header %s=%s\n", h.Key, h.Value)
			}
		}
	}
	return nil
}

func (publisher) Close() error { return nil }

func main() {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/ThreeDotsLabs/watermill-kafka/v3", "github.com/ThreeDotsLabs/watermill", "github.com/IBM/sarama":
			fmt.Println(m.Path, m.Version)
		}
	}
	record := &sarama.ConsumerMessage{
		Topic: "orders", Key: []byte("user-7"), Value: []byte("{}"),
		Headers: []*sarama.RecordHeader{
			{Key: []byte("tag"), Value: []byte("first")},
			{Key: []byte("tag"), Value: []byte("second")},
		},
	}
	fmt.Printf("record: key %s, headers tag=first tag=second\n", record.Key)
	m, err := kafka.DefaultMarshaler{}.Unmarshal(record)
	if err != nil {
		panic(err)
	}
	m.SetContext(context.Background())
	poison, err := middleware.PoisonQueue(publisher{}, "orders.dlq")
	if err != nil {
		panic(err)
	}
	fail := func(*message.Message) ([]*message.Message, error) { return nil, errors.New("the handler failed") }
	if _, err := poison(fail)(m); err != nil {
		panic(err)
	}
}
END
{
  go mod init finding
  go get github.com/ThreeDotsLabs/watermill-kafka/v3@v3.0.6 github.com/ThreeDotsLabs/watermill@v1.4.3 \
    github.com/IBM/sarama@v1.43.3
  go mod tidy
} >go.log 2>&1 || { cat go.log >&2; exit 2; }

stated='github.com/IBM/sarama v1.43.3
github.com/ThreeDotsLabs/watermill v1.4.3
github.com/ThreeDotsLabs/watermill-kafka/v3 v3.0.6
record: key user-7, headers tag=first tag=second
dead letter: topic orders.dlq, key nil true, value {}
  header tag=second'
seen=$(go run .)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

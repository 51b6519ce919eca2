#!/usr/bin/env bash
# Expected: to be told of the end of a partition moves no position. After a pause and a resume a consumer goes on with the
#   next record.
# Instead: where the end is read in a batch (`rd_kafka_consume_batch_queue`, which `Consumer.consume(n)` of confluent-kafka
#   is), the position is one behind the end; `poll()` leaves it where it is. After pause and resume the next fetch is out of
#   range, and with `auto.offset.reset=earliest` all records come again. By its source, not shown here: librdkafka pauses and
#   resumes by itself in a rebalance, an error in the place of a record moves the position in the same way, and a record
#   that is written before the next fetch is skipped.
# Versions: librdkafka 2.12.1 (confluent-kafka 2.12.1, PyPI) does so; 2.16.0 (confluent-kafka 2.16.1) does not. rust-rdkafka
#   0.39, the newest, is built with 2.12.1. Seen 2026-11-28.
# Why it matters: a service that reads in batches and asks for `enable.partition.eof`, to know that it has caught up, repeats
#   or loses records at the next rebalance.
# What to do: with such a version, leave `enable.partition.eof` off, and seek after an error that names a partition.
# Needs: Python 3.9 or newer.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

cat >finding.py <<'END'
import sys, time
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition, libversion

mock = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1})
address = [broker for broker in mock.list_topics(timeout=10).brokers.values()][0]
servers = f"{address.host}:{address.port}"
producer = Producer({"bootstrap.servers": servers})
for number in range(3):
    producer.produce("t", str(number), partition=0)
producer.flush(10)


def read(take):
    """Reads to the end by `take`, pauses and resumes: the position at the end, and what comes then."""
    consumer = Consumer({
        "bootstrap.servers": servers, "group.id": "g", "enable.partition.eof": True,
        "auto.offset.reset": "earliest", "enable.auto.commit": False, "fetch.wait.max.ms": 10,
    })
    here = TopicPartition("t", 0)
    consumer.assign([TopicPartition("t", 0, 0)])
    values, end, until = [], None, time.time() + 60
    while end is None and time.time() < until:
        for message in take(consumer):
            if message.error() is None:
                values.append(message.value().decode())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                end = message.offset()
    position = consumer.position([here])[0].offset
    consumer.pause([here])
    consumer.resume([here])
    again, until = [], time.time() + 5
    while time.time() < until:
        again += [message.value().decode() for message in take(consumer) if message.error() is None]
    consumer.close()
    return values, end, position, again


by_batch = read(lambda consumer: consumer.consume(10, 0.2))
by_poll = read(lambda consumer: [message for message in [consumer.poll(0.2)] if message is not None])
print("librdkafka", libversion()[0])
for name, (values, end, position, again) in [("consume(10)", by_batch), ("poll()", by_poll)]:
    print(f"{name}: read {values}, end {end}, position {position}, after pause and resume {again}")
all_of_them = ["0", "1", "2"]
right, surprise = (all_of_them, 3, 3, []), (all_of_them, 3, 4, all_of_them)
sys.exit(by_batch != (surprise if sys.argv[1] == "2.12.1" else right) or by_poll != right)
END

for version in 2.12.1 2.16.1; do
  python3 -m venv "venv-$version"
  "venv-$version/bin/pip" install --quiet --disable-pip-version-check "confluent-kafka==$version"
  "venv-$version/bin/python" finding.py "$version" || { echo "confluent-kafka $version behaves otherwise"; exit 1; }
done
echo "as stated"

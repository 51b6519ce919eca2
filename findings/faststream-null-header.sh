#!/usr/bin/env bash
# Expected: FastStream hands a record that has a header with a null value to the handler; and if it cannot read a
#   record, AckPolicy.NACK_ON_ERROR keeps it, as it does when the handler fails (the record is read again).
# Instead: one null header value on a record, its own or one that nobody looks at, and the handler never sees the
#   record. The log has an AttributeError, and the offset is committed past the record under NACK_ON_ERROR as well:
#   it is lost for the group.
# Versions: faststream (PyPI) 0.7.8 with aiokafka 0.14.0, confluent-kafka 2.12.2 (its mock cluster is the broker).
#   Seen 2026-11-28.
# Why it matters: null header values are valid in Kafka; Java, librdkafka and Go clients write them, and a router
#   hands them on. A Python service behind it skips exactly these records, quietly.
# What to do: drop or replace null header values before topics that FastStream reads; alert on its error line.
# Needs: Python 3.10 or newer.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check faststream==0.7.8 aiokafka==0.14.0 confluent-kafka==2.12.2

cat >finding.py <<'END'
import asyncio
import logging
from importlib.metadata import version

from confluent_kafka import Consumer, Producer, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

for name in ("faststream", "aiokafka"):
    print(name, version(name))

producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
node = next(iter(producer.list_topics(timeout=10).brokers.values()))
address = f"{node.host}:{node.port}"
for value, headers in [("one", []), ("two", [("note", None)]), ("three", [])]:
    producer.produce("orders", value, headers=headers, partition=0)
assert producer.flush(10) == 0

errors = []


class Errors(logging.Handler):
    def emit(self, record):
        if record.exc_info:
            errors.append(record.exc_info[0].__name__)


log = logging.Logger("finding")
log.addHandler(Errors(logging.ERROR))
broker = KafkaBroker(address, logger=log)
handled = []
done = asyncio.Event()


@broker.subscriber("orders", group_id="group", auto_offset_reset="earliest", ack_policy=AckPolicy.NACK_ON_ERROR)
async def handle(message: str):
    handled.append(message)
    if message == "three":
        if handled.count("three") == 1:
            raise ValueError("not now")
        done.set()


async def main():
    await broker.start()
    await asyncio.wait_for(done.wait(), 60)
    await asyncio.sleep(1)
    await broker.stop()


asyncio.run(main())
consumer = Consumer({"bootstrap.servers": address, "group.id": "group", "log_level": 0})
[committed] = consumer.committed([TopicPartition("orders", 0)], timeout=30)
consumer.close()
print("sent: one, two (with a null header), three (its handler fails once)")
print("handled:", ", ".join(handled))
print("errors:", ", ".join(sorted(set(errors))))
print("committed:", committed.offset)
END

stated='faststream 0.7.8
aiokafka 0.14.0
sent: one, two (with a null header), three (its handler fails once)
handled: one, three, three
errors: AttributeError, ValueError
committed: 3'
seen=$(venv/bin/python finding.py 2>stderr || { cat stderr >&2; exit 2; })
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

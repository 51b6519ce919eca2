#!/usr/bin/env bash
# Expected: in a relay that is instrumented with OpenTelemetry and passes the headers of a record on, the new record
#   has one traceparent, that of the relay's span, and its reader continues there. HTTP instrumentations do so:
#   injecting replaces.
# Instead: the Python instrumentation appends. The new record has two headers traceparent, the old one first, and the
#   same package, when it reads, takes the first. So each later hop hangs on the very first producer, and the relays'
#   spans are dead ends. Readers that take the last header (Java's lastHeader) see another trace.
#   The instrumentations of kafka-python and aiokafka are written in the same way.
# Versions: opentelemetry-instrumentation-confluent-kafka (PyPI) 0.66b1, opentelemetry-sdk 1.45.1,
#   confluent-kafka 2.12.2 (its mock cluster is the broker). Seen 2026-11-28.
# Why it matters: relays, retry topics and redrive pass headers on. A trace then never shows which hop was slow, and
#   each hop adds a header.
# What to do: remove traceparent and tracestate before producing with headers that were received; when reading, treat
#   two traceparent headers as this case: the last one is the nearest hop.
# Needs: Python 3.10 or newer.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check opentelemetry-instrumentation-confluent-kafka==0.66b1 \
  opentelemetry-api==1.45.1 opentelemetry-sdk==1.45.1 opentelemetry-instrumentation==0.66b1 \
  opentelemetry-semantic-conventions==0.66b1 confluent-kafka==2.12.2

cat >finding.py <<'END'
from importlib.metadata import version

from confluent_kafka import Consumer, Producer
from opentelemetry import trace
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

print("opentelemetry-instrumentation-confluent-kafka", version("opentelemetry-instrumentation-confluent-kafka"))

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("finding")
instrumentor = ConfluentKafkaInstrumentor()

cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
node = next(iter(cluster.list_topics(timeout=10).brokers.values()))
address = f"{node.host}:{node.port}"
producer = instrumentor.instrument_producer(Producer({"bootstrap.servers": address, "log_level": 0}), provider)


def produce(span, topic, headers):
    with tracer.start_as_current_span(span):
        producer.produce(topic, b"value", headers=headers)
        assert producer.flush(10) == 0


def receive(topic, instrumented):
    consumer = Consumer({
        "bootstrap.servers": address, "group.id": topic, "auto.offset.reset": "earliest", "log_level": 0})
    if instrumented:
        consumer = instrumentor.instrument_consumer(consumer, provider)
    consumer.subscribe([topic])
    message = consumer.poll(30)
    assert message is not None and not message.error()
    consumer.close()
    return message


produce("edge", "first", [])
received = receive("first", instrumented=False)
produce("relay", "second", received.headers())
last = receive("second", instrumented=True)

owner = {f"{span.context.span_id:016x}": span.name for span in spans.get_finished_spans()}
parents = [value.decode().split("-")[2] for name, value in last.headers() if name == "traceparent"]
print("traceparent headers of the relayed record:", ", ".join(owner[parent] for parent in parents))
for span in spans.get_finished_spans():
    for link in span.links:
        print(f"span '{span.name}' of its reader is linked to:", owner[f"{link.context.span_id:016x}"])
END

stated='opentelemetry-instrumentation-confluent-kafka 0.66b1
traceparent headers of the relayed record: first send, second send
span '\''second process'\'' of its reader is linked to: first send'
seen=$(venv/bin/python finding.py)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

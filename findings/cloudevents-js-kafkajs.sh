#!/usr/bin/env bash
# Expected: the Kafka binding of the CloudEvents SDK for JavaScript fits KafkaJS, the client most JavaScript users
#   have: Kafka.toEvent takes what eachMessage receives, producer.send takes what Kafka.binary returns.
# Instead: neither. KafkaJS delivers header values as Buffers; Kafka.isEvent says true of such a message, but
#   Kafka.toEvent fails with "contentType.startsWith is not a function", in structured mode as well. The other way,
#   Kafka.binary returns the data as an object, which KafkaJS cannot encode.
# Versions: cloudevents (npm) 10.0.0, kafkajs 2.2.4. Seen 2026-11-28.
# Why it matters: a service in Node that shares topics with a router that speaks CloudEvents binary mode stops at
#   the first record, though every header is right.
# What to do: turn header values into strings before toEvent; send JSON.stringify(data) as the value.
# Needs: Node.js 18 or newer, npm.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

npm install --silent --no-audit --no-fund --ignore-scripts cloudevents@10.0.0 kafkajs@2.2.4 >npm.log 2>&1 ||
  { cat npm.log >&2; exit 2; }

# No broker is needed: KafkaJS's own encoder and decoder of records stand for the way over the wire.
cat >finding.js <<'END'
const { CloudEvent, Kafka } = require("cloudevents");
const encode = require("kafkajs/src/protocol/recordBatch/record/v0");
const decode = require("kafkajs/src/protocol/recordBatch/record/v0/decoder");
const Decoder = require("kafkajs/src/protocol/decoder");

for (const name of ["cloudevents", "kafkajs"]) console.log(name, require(`${name}/package.json`).version);

const event = new CloudEvent({
  id: "1", source: "/orders", type: "created", time: "2026-11-28T10:00:00Z",
  datacontenttype: "application/json", data: { amount: 5 },
});

// What a KafkaJS consumer hands over for a message that a KafkaJS producer sent.
function travel({ key, value, headers }) {
  const size = (bytes) => { const decoder = new Decoder(bytes); decoder.readVarInt(); return decoder; };
  const context = { firstOffset: "0", firstTimestamp: "0", magicByte: 2 };
  return decode(size(encode({ key, value, headers }).buffer), context);
}

function attempt(label, action) {
  try {
    console.log(`${label}: ${action()}`);
  } catch (error) {
    console.log(`${label}: ${error.constructor.name}`);
    console.error(`  (${error.message.split("\n")[0]})`);
  }
}

const binary = Kafka.binary(event);
attempt("encode Kafka.binary's message", () => travel(binary) && "ok");

const strings = Object.fromEntries(Object.entries(binary.headers).filter(([, text]) => text !== undefined));
const received = travel({ key: "k", value: JSON.stringify(event.data), headers: strings });
console.log("ce_type as received:", received.headers.ce_type);
attempt("isEvent", () => Kafka.isEvent(received));
attempt("toEvent, binary", () => Kafka.toEvent(received).type);
attempt("toEvent, structured", () => Kafka.toEvent(travel(Kafka.structured(event))).type);

const texts = Object.fromEntries(Object.entries(received.headers).map(([name, bytes]) => [name, bytes.toString()]));
attempt("toEvent, binary, headers made strings", () => Kafka.toEvent({ ...received, headers: texts }).type);
END

stated='cloudevents 10.0.0
kafkajs 2.2.4
encode Kafka.binary'\''s message: TypeError
ce_type as received: <Buffer 63 72 65 61 74 65 64>
isEvent: true
toEvent, binary: TypeError
toEvent, structured: TypeError
toEvent, binary, headers made strings: created'
seen=$(node finding.js)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

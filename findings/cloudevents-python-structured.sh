#!/usr/bin/env bash
# Expected: from_kafka of the CloudEvents SDK for Python tells the two content modes apart by content-type, as the
#   Kafka protocol binding says (section 3: application/cloudevents* is structured, everything else binary).
# Instead: one header that begins with ce_ makes it binary, whatever content-type says. A structured event that also
#   has the headers of binary mode, which section 3.3.3 allows, is read without an error, but its data is the whole
#   envelope, its extensions are gone, and its time is the moment of reading.
#   (That last point holds for every event without time: each reading gives it another one.)
# Version: cloudevents (PyPI) 2.2.0, module cloudevents.core. Seen 2026-11-28.
# Why it matters: a producer or a gateway adds ce_ headers so that a router can choose by type without parsing.
#   A handler in Python then finds data["data"] where data was, and stores the envelope.
# What to do: look at content-type yourself and call from_structured or from_binary.
# Needs: Python 3.10 or newer.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudevents==2.2.0 python-dateutil==2.9.0.post0

cat >finding.py <<'END'
from importlib.metadata import version

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.formats.json import JSONFormat

print("cloudevents", version("cloudevents"))

content_type = {"content-type": b"application/cloudevents+json; charset=UTF-8"}
attributes = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/orders", "ce_type": b"created"}
value = (b'{"specversion":"1.0","id":"1","source":"/orders","type":"created","time":"2026-11-28T10:00:00Z",'
         b'"priority":5,"data":{"amount":7}}')

for label, headers in [("content-type alone", content_type), ("with ce_ headers", content_type | attributes)]:
    event = from_kafka(KafkaMessage(headers=headers, key=None, value=value), JSONFormat())
    print(f"{label}: data {event.get_data()}, priority {event.get_extension('priority')},",
          "time as sent" if event.get_time().isoformat() == "2026-11-28T10:00:00+00:00" else "another time")
END

stated='cloudevents 2.2.0
content-type alone: data {'\''amount'\'': 7}, priority 5, time as sent
with ce_ headers: data {'\''specversion'\'': '\''1.0'\'', '\''id'\'': '\''1'\'', '\''source'\'': '\''/orders'\'', '\''type'\'': '\''created'\'', '\''time'\'': '\''2026-11-28T10:00:00Z'\'', '\''priority'\'': 5, '\''data'\'': {'\''amount'\'': 7}}, priority None, another time'
seen=$(venv/bin/python finding.py)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

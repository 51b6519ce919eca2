#!/usr/bin/env bash
# Expected: prometheus_client's parser of the text format gives each sample the name it has on the page.
# Instead: a counter without the suffix _total gets one: the line "records_handled 5" comes back as a sample named
#   records_handled_total, and no sample has the name that Prometheus itself stores. A look-up by name finds nothing
#   (get_sample_value gives None, which is easily taken for "not counted yet"), and a page that is parsed
#   and written again, as an aggregating exporter does, has other metric names.
# Version: prometheus_client (PyPI) 0.26.0. Seen 2026-11-28.
# Why it matters: _total is a custom of names, no rule of the text format (0.0.4); exporters of several languages write
#   counters just as they were named. A test or a relay in Python then sees metrics nobody else sees.
# What to do: name counters with _total from the start; then all readers agree.
# Needs: Python 3.9 or newer.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prometheus_client==0.26.0

cat >finding.py <<'END'
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

print("prometheus_client", version("prometheus_client"))

page = """# TYPE records_handled counter
records_handled{topic="orders"} 5
# TYPE records_dead_total counter
records_dead_total{topic="orders"} 1
# TYPE records_waiting gauge
records_waiting{topic="orders"} 2
"""


class Relay:
    def collect(self):
        return text_string_to_metric_families(page)


registry = CollectorRegistry()
registry.register(Relay())
for family in text_string_to_metric_families(page):
    for sample in family.samples:
        print("parsed:", sample.name, sample.value)
print("get_sample_value records_handled:", registry.get_sample_value("records_handled", {"topic": "orders"}))
for line in generate_latest(registry).decode().splitlines():
    if not line.startswith("#"):
        print("written again:", line)
END

stated='prometheus_client 0.26.0
parsed: records_handled_total 5
parsed: records_dead_total 1
parsed: records_waiting 2
get_sample_value records_handled: None
written again: records_handled_total{topic="orders"} 5.0
written again: records_dead_total{topic="orders"} 1.0
written again: records_waiting{topic="orders"} 2.0'
seen=$(venv/bin/python finding.py)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

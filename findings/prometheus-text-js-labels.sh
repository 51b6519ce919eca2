#!/usr/bin/env bash
# Expected: parse-prometheus-text-format keeps what distinguishes the series of a histogram or summary: its labels.
# Instead: for counters and gauges it does; for histograms and summaries it drops all labels but le or quantile and
#   folds the series into one, in which the last one wins. Sum and count get lost as well when they have labels.
#   Two topics with 1000 and 3 events become one histogram with 3 events and no count.
# Version: parse-prometheus-text-format (npm) 1.1.1, with the usual output of prom-client 15.1.3 as input.
#   Seen 2026-11-28.
# Why it matters: this is a common way to assert on /metrics in JavaScript tests and to feed small dashboards. A
#   handler's latency by topic looks fine and is another topic's.
# What to do: in tests, read histogram lines as text, or use a parser that keeps labels.
# Needs: Node.js 20 or newer, npm.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

npm install --silent --no-audit --no-fund --ignore-scripts parse-prometheus-text-format@1.1.1 prom-client@15.1.3 \
  >npm.log 2>&1 || { cat npm.log >&2; exit 2; }

cat >finding.mjs <<'END'
import { createRequire } from "node:module";
import parse from "parse-prometheus-text-format";
import client from "prom-client";

const require = createRequire(import.meta.url);
console.log("parse-prometheus-text-format", require("parse-prometheus-text-format/package.json").version);
console.log("prom-client", require("prom-client/package.json").version);

const registry = new client.Registry();
const options = { help: "h", labelNames: ["topic"], registers: [registry] };
const histogram = new client.Histogram({ ...options, name: "handle_seconds", buckets: [1] });
const summary = new client.Summary({ ...options, name: "batch_records", percentiles: [0.5] });
const counter = new client.Counter({ ...options, name: "handled_total" });
for (const [topic, events] of [["orders", 1000], ["users", 3]]) {
  for (let i = 0; i < events; i++) histogram.observe({ topic }, 0.5);
  summary.observe({ topic }, events);
  counter.inc({ topic }, events);
}

const text = await registry.metrics();
console.log(text.split("\n").filter((line) => line.startsWith("handle_seconds_count")).join("\n"));
for (const family of parse(text)) console.log(family.name, JSON.stringify(family.metrics));
END

stated='parse-prometheus-text-format 1.1.1
prom-client 15.1.3
handle_seconds_count{topic="orders"} 1000
handle_seconds_count{topic="users"} 3
handle_seconds [{"buckets":{"1":"3","+Inf":"3"}}]
batch_records [{"quantiles":{"0.5":"3"}}]
handled_total [{"value":"1000","labels":{"topic":"orders"}},{"value":"3","labels":{"topic":"users"}}]'
seen=$(node finding.mjs)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

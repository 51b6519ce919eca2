#!/usr/bin/env bash
# Expected: the official AsyncAPI parser checks a message's examples against its payload and headers schemas, in
#   AsyncAPI 3.0 as it does in 2.6.
# Instead: the check exists for 2.x documents only. The same message with the same wrong examples is an error in 2.6
#   and passes in 3.0 and 3.1 without an error, a warning or a hint. A wrong Kafka binding is an error in both, so
#   validation looks as if it worked.
# Version: @asyncapi/parser (npm) 3.6.6. Seen 2026-11-28.
# Why it matters: event contracts are published as AsyncAPI 3 documents checked in CI by this parser. After the move
#   from 2.6 to 3.0 the examples may drift away from the schema, and users copy them into requests.
# What to do: check examples against the schema in your own tests; the parser's verdict says nothing about them.
# Needs: Node.js 18 or newer, npm.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

npm install --silent --no-audit --no-fund --ignore-scripts @asyncapi/parser@3.6.6 >npm.log 2>&1 ||
  { cat npm.log >&2; exit 2; }

cat >finding.mjs <<'END'
import { createRequire } from "node:module";
import { Parser } from "@asyncapi/parser";

console.log("@asyncapi/parser", createRequire(import.meta.url)("@asyncapi/parser/package.json").version);

const message = {
  headers: { type: "object", properties: { ce_id: { type: "string" } } },
  payload: { type: "object", required: ["userId"], properties: { userId: { type: "integer" } } },
  examples: [{ headers: { ce_id: 5 }, payload: { userId: "seven" } }],
};
const info = { title: "Users", version: "1.0.0" };

function document(version, binding) {
  const bindings = { kafka: binding };
  if (version.startsWith("2")) {
    return { asyncapi: version, info, channels: { "user.events": { bindings, publish: { message } } } };
  }
  return {
    asyncapi: version, info,
    channels: { users: { address: "user.events", bindings, messages: { changed: message } } },
    operations: { handle: { action: "receive", channel: { $ref: "#/channels/users" } } },
  };
}

async function verdict(label, input) {
  const { diagnostics } = await new Parser().parse(input);
  const errors = diagnostics.filter(({ severity }) => severity === 0);
  console.log(`${label}: ${errors.length === 0 ? "valid" : "errors"}`);
  for (const { message: text } of errors) if (!text.includes('"then" schema')) console.log(`  ${text}`);
  const hints = diagnostics.filter(({ severity, path }) => severity !== 0 && path.includes("examples"));
  if (hints.length > 0) console.log("  and warnings or hints about the examples");
}

for (const version of ["2.6.0", "3.0.0", "3.1.0"]) {
  await verdict(`${version}, wrong examples`, document(version, { partitions: 8 }));
}
await verdict("3.0.0, wrong Kafka binding", document("3.0.0", { partitions: "eight" }));
END

stated='@asyncapi/parser 3.6.6
2.6.0, wrong examples: errors
  "ce_id" property type must be string
  "userId" property type must be integer
3.0.0, wrong examples: valid
3.1.0, wrong examples: valid
3.0.0, wrong Kafka binding: errors
  "partitions" property type must be integer
  "partitions" property type must be integer'
seen=$(node finding.mjs)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

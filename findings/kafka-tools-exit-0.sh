#!/usr/bin/env bash
# Expected: Kafka's command line tools exit non-zero when they have not done what they were asked to do.
# Instead: several print an error and exit 0:
#   kafka-console-producer for a record that was not sent, kafka-console-consumer --max-messages 10 that got 3,
#   kafka-delete-records beyond the end, kafka-consumer-groups --reset-offsets --execute on a group in use,
#   --delete and --describe of a group that does not exist. kafka-topics and kafka-get-offsets exit 1 as expected.
# Versions: Apache Kafka 4.4.0 (tools and broker). Seen 2026-11-28; 4.1.1 does the same.
# Why it matters: run-books and deployment scripts ("set -e", "&&") take these for done: the offsets are not reset,
#   the records not deleted, the dead letter not put back.
# What to do: read the output for "Error", or ask for the result in a second step (--describe, kafka-get-offsets).
# Needs: Java 17, Maven.
set -euo pipefail
shopt -s inherit_errexit

tmp=$(mktemp -d)
broker=''
trap '[[ ! $broker ]] || { kill -KILL "$broker"; wait "$broker"; } 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"

cat >pom.xml <<'END'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId>
  <artifactId>finding</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>4.4.0</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>4.4.0</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
END
mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory=jars >mvn.log 2>&1 ||
  { cat mvn.log >&2; exit 2; }

tool=(java -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp 'jars/*')
tool() { "${tool[@]}" "org.apache.kafka.tools.$1" --bootstrap-server "$address" "${@:2}"; }

port=$((15000 + RANDOM % 8000 * 2))
address=127.0.0.1:$port
cat >server.properties <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://$address,CONTROLLER://127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
END
java -XX:TieredStopAtLevel=1 -cp 'jars/*' kafka.tools.StorageTool format -t finding-finding-fin-w -c server.properties >broker.log 2>&1
java -Xmx512m -XX:TieredStopAtLevel=1 -cp 'jars/*' kafka.Kafka server.properties >>broker.log 2>&1 &
broker=$!
for ((i = 0; ; i++)); do
  if tool TopicCommand --create --topic orders --partitions 4 >create.log 2>&1; then break; fi
  if ((i == 10)) || ! kill -0 "$broker"; then cat broker.log create.log >&2; exit 2; fi
done

# Runs a tool; shows the label, its exit code and what in its output matches a pattern.
show() {
  local label=$1 pattern=$2 status=0
  shift 2
  "$@" >output 2>&1 || status=$?
  printf '%s: exit %s, %s\n' "$label" "$status" \
    "$(grep -oE -m1 "$pattern" output || echo "another output: $(head -n 3 output)")"
}
produce() { head -c "$1" /dev/zero | tr '\0' x | tool ConsoleProducer --topic orders; }
reset() {
  tool consumer.group.ConsumerGroupCommand --reset-offsets --group busy --topic orders --to-earliest --execute
}

finding() {
  basename jars/kafka-tools-[0-9]*.jar .jar
  printf '1\n2\n3\n' | tool ConsoleProducer --topic orders >/dev/null
  "${tool[@]}" org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$address" --topic orders --group busy \
    >/dev/null 2>&1 &
  local consumer=$!
  trap 'kill -KILL "$consumer"' EXIT
  show 'produce a record that is too large' 'RecordTooLargeException' produce 2000000
  show 'consume 10 of 3' 'Processed a total of 3 messages' \
    tool consumer.ConsoleConsumer --topic orders --from-beginning --max-messages 10 --timeout-ms 10000
  echo '{"version":1,"partitions":[{"topic":"orders","partition":0,"offset":1000}]}' >offsets.json
  show 'delete records beyond the end' 'error: [A-Za-z.]*OffsetOutOfRangeException' \
    tool DeleteRecordsCommand --offset-json-file offsets.json
  for ((i = 0; i < 20; i++)); do
    if tool consumer.group.ConsumerGroupCommand --describe --group busy --state 2>/dev/null | grep -q Stable; then break; fi
  done
  show 'reset the offsets of a group in use' 'Error: .*current state is [A-Za-z]*' reset
  kill -KILL "$consumer"
  trap - EXIT
  show 'delete a group that does not exist' 'Error: .*failed' \
    tool consumer.group.ConsumerGroupCommand --delete --group nosuch
  show 'describe a group that does not exist' 'Group nosuch not found' \
    tool consumer.group.ConsumerGroupCommand --describe --group nosuch
  show 'describe a topic that does not exist' "Topic 'nosuch' does not exist" tool TopicCommand --describe --topic nosuch
  show 'offsets of a topic that does not exist' 'Could not match any topic-partitions' tool GetOffsetShell --topic nosuch
}

stated='kafka-tools-4.4.0
produce a record that is too large: exit 0, RecordTooLargeException
consume 10 of 3: exit 0, Processed a total of 3 messages
delete records beyond the end: exit 0, error: org.apache.kafka.common.errors.OffsetOutOfRangeException
reset the offsets of a group in use: exit 0, Error: Assignments can only be reset if the group '\''busy'\'' is inactive, but the current state is Stable
delete a group that does not exist: exit 0, Error: Deletion of some consumer groups failed
describe a group that does not exist: exit 0, Group nosuch not found
describe a topic that does not exist: exit 1, Topic '\''nosuch'\'' does not exist
offsets of a topic that does not exist: exit 1, Could not match any topic-partitions'
seen=$(finding)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

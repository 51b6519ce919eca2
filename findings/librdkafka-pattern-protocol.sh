#!/usr/bin/env bash
# Expected: a subscription by pattern, such as ^ord, gives a librdkafka consumer the same topics under both group
#   protocols; group.protocol=consumer changes who assigns, not what is subscribed.
# Instead: under the classic protocol librdkafka looks for the pattern anywhere in a topic's name, so ^ord finds
#   "orders". Under group.protocol=consumer the broker decides, and there the pattern must match the whole name:
#   ^ord finds nothing. The consumer is a member in good standing without partitions: no error from poll, none from
#   the error callback, an empty assignment.
# Versions: librdkafka 2.16.0 in confluent-kafka (PyPI) 2.16.1, Apache Kafka 4.4.0. Seen 2026-11-28;
#   librdkafka 2.12.1 with Kafka 4.1.1 does the same.
# Why it matters: a service that reads ^user or ^dlq\. moves to the new protocol by one setting and from then on
#   handles nothing, with lag growing only on topics whose group committed before.
# What to do: end patterns with .* before the change; it means the same under both protocols.
# Needs: Java 17, Maven, Python 3.9 or newer.
set -euo pipefail

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
      <artifactId>slf4j-nop</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
END
mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory=jars >mvn.log 2>&1 ||
  { cat mvn.log >&2; exit 2; }

tool() { java -XX:TieredStopAtLevel=1 -cp 'jars/*' "org.apache.kafka.tools.$1" --bootstrap-server "$address" "${@:2}"; }

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

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check confluent-kafka==2.16.1

cat >finding.py <<'END'
import sys
import time

import confluent_kafka

print("librdkafka", confluent_kafka.libversion()[0])

for pattern in ("^ord", "^ord.*"):
    for protocol in ("classic", "consumer"):
        errors = []
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": sys.argv[1], "group.id": f"{protocol} {pattern}", "group.protocol": protocol,
            "error_cb": errors.append, "log_level": 0})
        consumer.subscribe([pattern])
        end = time.monotonic() + 12
        while time.monotonic() < end and not consumer.assignment():
            message = consumer.poll(0.2)
            if message is not None and message.error():
                errors.append(message.error())
        topics = sorted({partition.topic for partition in consumer.assignment()})
        print(f"{pattern} {protocol}: topics {topics}, errors {len(errors)}, member id", consumer.memberid() != "")
        consumer.close()
END

stated='kafka_2.13-4.4.0
librdkafka 2.16.0
^ord classic: topics ['\''orders'\''], errors 0, member id True
^ord consumer: topics [], errors 0, member id True
^ord.* classic: topics ['\''orders'\''], errors 0, member id True
^ord.* consumer: topics ['\''orders'\''], errors 0, member id True'
seen=$(basename jars/kafka_2.13-*.jar .jar && venv/bin/python finding.py "$address")
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

#!/usr/bin/env bash
# Expected: a text header that crosses Kafka Connect with its default header converter keeps its bytes:
#   ce_specversion "1.0" goes in, ce_specversion "1.0" comes out.
# Instead: SimpleHeaderConverter guesses a type for every header. "1.0" becomes the int8 1 and is written as "1",
#   "007" becomes "7", "1e3" becomes "1000", "[1, 2]" becomes "[1,2]". Times, UUIDs and traceparent survive, so a first
#   test looks fine. The CloudEvents SDK then refuses the event, because there is no version "1". What a connector
#   hands over as raw bytes is written as base64.
# Versions: org.apache.kafka:connect-api 4.4.0, io.cloudevents:cloudevents-kafka 4.0.1. Seen 2026-11-28.
# Why it matters: events in CloudEvents binary mode carry their identity in headers. A sink, or a source that
#   forwards records, changes ids such as "007" (two ids can become one) and makes each event unreadable.
# What to do: set header.converter on the worker or the connector: to
#   org.apache.kafka.connect.converters.ByteArrayConverter where headers are copied, to
#   org.apache.kafka.connect.storage.StringConverter where the other side wants text.
# Needs: Java 17 (JDK), Maven.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
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
      <artifactId>connect-api</artifactId>
      <version>4.4.0</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-clients</artifactId>
      <version>4.4.0</version>
    </dependency>
    <dependency>
      <groupId>io.cloudevents</groupId>
      <artifactId>cloudevents-kafka</artifactId>
      <version>4.0.1</version>
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

cat >Headers.java <<'END'
import static java.nio.charset.StandardCharsets.UTF_8;

import io.cloudevents.kafka.CloudEventDeserializer;
import java.util.Map;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.storage.SimpleHeaderConverter;

public class Headers {
    static final SimpleHeaderConverter converter = new SimpleHeaderConverter();

    static byte[] through(String text) {
        var data = converter.toConnectHeader("topic", "name", text.getBytes(UTF_8));
        return converter.fromConnectHeader("topic", "name", data.schema(), data.value());
    }

    static String read(boolean connect) {
        var headers = new RecordHeaders();
        Map.of("specversion", "1.0", "id", "007", "source", "/orders", "type", "created").forEach(
            (name, value) -> headers.add("ce_" + name, connect ? through(value) : value.getBytes(UTF_8)));
        try {
            return "read, id " + new CloudEventDeserializer().deserialize("topic", headers, new byte[] {'1'}).getId();
        } catch (RuntimeException e) {
            return "refused: " + e.getMessage();
        }
    }

    public static void main(String[] arguments) {
        converter.configure(Map.of());
        for (String text : new String[] {"1.0", "007", "1.10", "1e3", "[1, 2]", "018f4e5c-7b1a-7c3d-8e2f-0123456789ab", "2026-11-28T10:00:00Z",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}) {
            System.out.println(text + " -> " + new String(through(text), UTF_8));
        }
        byte[] bytes = converter.fromConnectHeader("topic", "name", Schema.BYTES_SCHEMA, "created".getBytes(UTF_8));
        System.out.println("bytes of created -> " + new String(bytes, UTF_8));
        System.out.println("CloudEvent, direct: " + read(false));
        System.out.println("CloudEvent, through the converter: " + read(true));
    }
}
END

stated='connect-api-4.4.0
cloudevents-kafka-4.0.1
1.0 -> 1
007 -> 7
1.10 -> 1.1
1e3 -> 1000
[1, 2] -> [1,2]
018f4e5c-7b1a-7c3d-8e2f-0123456789ab -> 018f4e5c-7b1a-7c3d-8e2f-0123456789ab
2026-11-28T10:00:00Z -> 2026-11-28T10:00:00Z
00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 -> 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
bytes of created -> Y3JlYXRlZA==
CloudEvent, direct: read, id 007
CloudEvent, through the converter: refused: Invalid specversion: 1'
seen=$(
  for jar in connect-api cloudevents-kafka; do basename jars/$jar-*.jar .jar; done
  java -cp 'jars/*' Headers.java
)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

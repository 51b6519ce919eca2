#!/usr/bin/env bash
# Expected: Spring for Apache Kafka writes a message header that is a UUID, an Instant or a URI as its plain text, as it
#   does with a String: ce_id = 018f..., not "018f..." in quotes.
# Instead: with Jackson on the class path, as in Spring Boot services, its converter (JsonKafkaHeaderMapper inside) writes
#   a String as it is and all else as JSON, so such headers travel with double quotes around them. Spring removes them
#   again on its own side, guided by the header spring_json_header_types; every other reader gets the quotes.
#   On the way in and out again a null header, all but the last of equal names, and the names id and timestamp are lost.
# Versions: org.springframework.kafka:spring-kafka 4.1.2 with Jackson 3.0.3. Seen 2026-11-28.
# Why it matters: ce_id, ce_time and ce_source are just such values. A reader with strict CloudEvents parsing refuses the
#   time, a lenient one has ids that never equal those of the same event from elsewhere, so deduplication fails.
# What to do: call toString() before setting such headers; a reader may strip the quotes if spring_json_header_types is
#   present.
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
      <groupId>org.springframework.kafka</groupId>
      <artifactId>spring-kafka</artifactId>
      <version>4.1.2</version>
    </dependency>
    <dependency>
      <groupId>tools.jackson.core</groupId>
      <artifactId>jackson-databind</artifactId>
      <version>3.0.3</version>
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

import java.net.URI;
import java.time.Instant;
import java.util.Map;
import java.util.TreeMap;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.springframework.kafka.support.converter.MessagingMessageConverter;
import org.springframework.messaging.support.MessageBuilder;

public class Headers {
    static void show(String title, org.apache.kafka.common.header.Headers headers) {
        var sorted = new TreeMap<String, String>();
        for (var header : headers) {
            String value = header.value() == null ? "null" : new String(header.value(), UTF_8);
            if (!header.key().equals("spring_json_header_types")) {
                sorted.merge(header.key(), value, (first, second) -> first + " and " + second);
            }
        }
        System.out.println(title);
        sorted.forEach((name, value) -> System.out.println("  " + name + " = " + value));
    }

    public static void main(String[] arguments) {
        // What KafkaTemplate and @KafkaListener use unless told otherwise.
        var converter = new MessagingMessageConverter();

        var message = MessageBuilder.withPayload("{}")
            .setHeader("ce_id", UUID.fromString("018f4e5c-7b1a-7c3d-8e2f-0123456789ab"))
            .setHeader("ce_type", "created")
            .setHeader("ce_time", Instant.parse("2026-11-28T10:00:00Z"))
            .setHeader("ce_source", URI.create("/orders"))
            .build();
        show("written from a UUID, a String, an Instant and a URI:", converter.fromMessage(message, "out").headers());

        var received = new ConsumerRecord<Object, Object>("in", 0, 0, "key", "{}");
        received.headers().add("tag", new byte[] {'1'}).add("tag", new byte[] {'2'}).add("note", null)
            .add("id", new byte[] {'3'}).add("timestamp", new byte[] {'4'});
        show("received:", received.headers());
        var read = converter.toMessage(received, null, null, String.class);
        show("sent on:", converter.fromMessage(read, "out").headers());
    }
}
END

stated='spring-kafka-4.1.2
written from a UUID, a String, an Instant and a URI:
  ce_id = "018f4e5c-7b1a-7c3d-8e2f-0123456789ab"
  ce_source = "/orders"
  ce_time = "2026-11-28T10:00:00Z"
  ce_type = created
received:
  id = 3
  note = null
  tag = 1 and 2
  timestamp = 4
sent on:
  tag = 2'
seen=$(
  basename jars/spring-kafka-*.jar .jar
  java -cp 'jars/*' Headers.java
)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

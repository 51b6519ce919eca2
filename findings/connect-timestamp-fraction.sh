#!/usr/bin/env bash
# Expected: Kafka Connect's TimestampConverter, told the pattern yyyy-MM-dd'T'HH:mm:ss.SSSSSSX, reads the RFC 3339
#   time 2026-11-28T10:00:00.123456Z as 10:00:00.123 (Connect's times have milliseconds) or refuses it.
# Instead: it reads the fraction as a whole number of milliseconds, whatever its length. Six digits move the time
#   forward by up to 16 minutes (10:02:03.456), nine digits by up to 11 days, and one digit (".1") is 1 ms, not 100.
#   With the pattern .SSS the six digits are taken too, and wrong in the same way. No error, no log line.
# Version: org.apache.kafka:connect-transforms 4.4.0. Seen 2026-11-28.
# Why it matters: Rust and Go write as many fraction digits as a time needs (often 6 or 9, none for a whole second),
#   so the times of events in a sink's table are off by a random amount and out of order.
# What to do: write event times with exactly three fraction digits if Connect reads them, or as integers.
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
      <artifactId>connect-transforms</artifactId>
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

cat >Times.java <<'END'
import java.time.Instant;
import java.util.Map;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.transforms.TimestampConverter;

public class Times {
    static void show(String pattern, String time) {
        String result;
        try (var transform = new TimestampConverter.Value<SourceRecord>()) {
            transform.configure(Map.of("target.type", "unix", "format", pattern, "field", "time"));
            var record = transform.apply(new SourceRecord(null, null, "topic", null, null, Map.of("time", time)));
            result = Instant.ofEpochMilli((Long) ((Map<?, ?>) record.value()).get("time")).toString();
        } catch (RuntimeException e) {
            result = e.toString();
        }
        System.out.println(time + " -> " + result);
    }

    public static void main(String[] arguments) {
        show("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2026-11-28T10:00:00.123Z");
        show("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2026-11-28T10:00:00.1Z");
        show("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2026-11-28T10:00:00.123456Z");
        show("yyyy-MM-dd'T'HH:mm:ss.SSSSSSX", "2026-11-28T10:00:00.123456Z");
        show("yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSSX", "2026-11-28T10:00:00.123456789Z");
    }
}
END

stated='connect-transforms-4.4.0
2026-11-28T10:00:00.123Z -> 2026-11-28T10:00:00.123Z
2026-11-28T10:00:00.1Z -> 2026-11-28T10:00:00.001Z
2026-11-28T10:00:00.123456Z -> 2026-11-28T10:02:03.456Z
2026-11-28T10:00:00.123456Z -> 2026-11-28T10:02:03.456Z
2026-11-28T10:00:00.123456789Z -> 2026-11-29T20:17:36.789Z'

seen=$(
  basename jars/connect-transforms-*.jar .jar
  java -cp 'jars/*' Times.java
)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

#!/usr/bin/env bash
# Expected: Kafka Connect's JsonConverter keeps an integer beyond 64 bits, or refuses it as a DataException so that
#   the record goes to the dead letter queue.
# Instead: without schemas it cuts the number to its lowest 64 bits and says nothing: 9223372036854775808 comes out
#   as -9223372036854775808, 12345678901234567890123 as 4807115922877859019. And 1e400 comes out as the text
#   "Infinity". All three are valid JSON numbers (RFC 8259 sets no limit).
# Version: org.apache.kafka:connect-json 4.4.0. Seen 2026-11-28.
# Why it matters: many people know that JavaScript rounds large numbers; here a large id or amount turns into another,
#   plausible one, also a negative one, in each sink behind a topic, while every other reader shows the right digits.
# What to do: send numbers that may pass 2^63 as strings, and put maxima into the contract's JSON Schema.
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
      <artifactId>connect-json</artifactId>
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

cat >Numbers.java <<'END'
import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Map;
import org.apache.kafka.connect.json.JsonConverter;

public class Numbers {
    public static void main(String[] arguments) {
        try (var converter = new JsonConverter()) {
            converter.configure(Map.of("schemas.enable", "false"), false);
            for (String number : new String[] {"9223372036854775807", "9223372036854775808", "18446744073709551616",
                "12345678901234567890123", "1e400"}) {
                String json = "{\"amount\":" + number + "}";
                String result;
                try {
                    var data = converter.toConnectData("topic", json.getBytes(UTF_8));
                    result = new String(converter.fromConnectData("topic", data.schema(), data.value()), UTF_8);
                } catch (RuntimeException e) {
                    result = e.toString();
                }
                System.out.println(json + " -> " + result);
            }
        }
    }
}
END

stated='connect-json-4.4.0
{"amount":9223372036854775807} -> {"amount":9223372036854775807}
{"amount":9223372036854775808} -> {"amount":-9223372036854775808}
{"amount":18446744073709551616} -> {"amount":0}
{"amount":12345678901234567890123} -> {"amount":4807115922877859019}
{"amount":1e400} -> {"amount":"Infinity"}'

seen=$(
  basename jars/connect-json-*.jar .jar
  java -cp 'jars/*' Numbers.java
)
printf '%s\n' "$seen"
[[ $seen == "$stated" ]] || { printf 'Not as stated, which is:\n%s\n' "$stated" >&2; exit 1; }

//! The headers of a record as they come over the wire (record format v2): how many, then name and value of each, every
//! number a zigzag varint, and -1 the length of a null value.

/// Iterates over them; ends early where the bytes are no headers, which no broker lets in.
pub(super) struct WireHeaders<'a> {
    left: i64,
    rest: &'a [u8],
}

impl<'a> WireHeaders<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut headers = Self { left: 0, rest: bytes };
        headers.left = headers.number().unwrap_or(0);
        headers
    }

    fn number(&mut self) -> Option<i64> {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                let sign = (number & 1).cast_signed().wrapping_neg();
                return Some((number >> 1).cast_signed() ^ sign);
            }
            shift += 7;
        }
    }

    fn bytes(&mut self, length: i64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for WireHeaders<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let length = self.number()?;
        let name = self.bytes(length)?;
        let value = match self.number()? {
            -1 => None,
            length => Some(self.bytes(length)?),
        };
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::{Header as Named, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    use rdkafka::{ClientConfig, TopicPartitionList};

    use super::super::ffi::QueuedConsumer;
    use super::*;
    use crate::kafka::EmbeddedBroker;

    #[test]
    fn headers_are_read_as_they_were_written() {
        let long = [b'v'; 200];
        // 4; "a" = "1"; "" = null; "ab" = ""; "l" = 200 bytes, whose length is 0x90 0x03.
        let mut bytes = b"\x08\x02a\x021\x00\x01\x04ab\x00\x02l\x90\x03".to_vec();
        bytes.extend(long);
        let headers: Vec<_> = WireHeaders::new(&bytes).collect();
        let expected: [(&[u8], Option<&[u8]>); 4] =
            [(b"a", Some(b"1")), (b"", None), (b"ab", Some(b"")), (b"l", Some(&long))];
        assert_eq!(headers, expected);
    }

    #[test]
    fn none_is_none_and_nonsense_ends() {
        assert_eq!(WireHeaders::new(b"\x00").count(), 0);
        assert_eq!(WireHeaders::new(b"").count(), 0);
        assert_eq!(WireHeaders::new(b"\x04\x02a\x021\x7f").count(), 1);
        assert_eq!(WireHeaders::new(b"\x02\x02a\x05").count(), 0);
        assert_eq!(WireHeaders::new(&[0xff; 20]).count(), 0);
    }

    #[test]
    fn headers_are_the_same_as_they_came_and_as_librdkafka_has_them() {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic("t", 1).unwrap();
        let config = |name: &str, value: &str| -> ClientConfig {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", broker.bootstrap()).set(name, value);
            config
        };
        let headers = OwnedHeaders::new().insert(Named { key: "a", value: Some("1") });
        let headers = headers.insert(Named { key: "null", value: None::<&str> });
        let headers = headers.insert(Named { key: "long", value: Some(&"v".repeat(1_000)) });
        let producer: BaseProducer = config("linger.ms", "0").create().unwrap();
        let record = || BaseRecord::<str, str>::to("t").partition(0);
        producer.send(record().payload("none")).map_err(|(error, _)| error).unwrap();
        producer.send(record().payload("three").headers(headers)).map_err(|(error, _)| error).unwrap();
        producer.send(record().key("neither value nor headers")).map_err(|(error, _)| error).unwrap();
        producer.flush(Duration::from_mins(1)).unwrap();

        let consumer: BaseConsumer = config("group.id", "g").set("auto.offset.reset", "earliest").create().unwrap();
        let mut consumer = QueuedConsumer::new(consumer);
        consumer.forward("t", 0);
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        consumer.consumer().assign(&list).unwrap();
        let (mut counts, deadline) = (Vec::new(), Instant::now() + Duration::from_mins(1));
        while counts.len() < 3 && Instant::now() < deadline {
            consumer.read(10, Duration::from_millis(100), |message| {
                let Some(wire) = message.raw().wire_headers() else {
                    panic!(
                        "this is another librdkafka: read its rdkafka_msg.h, and set the layout and its version here"
                    );
                };
                let wire: Vec<(Vec<u8>, Option<Vec<u8>>)> =
                    wire.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
                let raw = message.raw().of_another_version();
                let parsed = raw.headers().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)));
                assert_eq!(wire, parsed.collect::<Vec<_>>());
                counts.push(wire.len());
            });
        }
        assert_eq!(counts, [0, 3, 0]);
    }
}

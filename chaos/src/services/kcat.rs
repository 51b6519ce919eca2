//! The independent client: kcat reads the topics, the offsets and the state of the cluster, and writes what is no event.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::trouble::{Trouble, invalid};

/// A call that asks for little; kcat itself would wait much longer for brokers.
const ASK_SECONDS: &str = "20";
/// A call that reads a whole topic, or writes while a broker is down.
const READ_SECONDS: &str = "300";
/// Coordinates, time and the lengths of key and value; then these; then the headers.
const FORMAT: &str = "%p %o %T %K %S\\n%k%s\\n%h\\n";

/// A record as it lies in a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The topics of a run are stamped by the broker that appends.
    pub(crate) appended_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// As kcat prints them: `name=value,name=value`.
    pub(crate) headers: String,
}

impl Record {
    /// The first header of that name. kcat separates headers by commas, which none of those that are asked for has.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .split(',')
            .find_map(|header| header.split_once('=').filter(|(known, _)| *known == name))
            .map(|at| at.1)
    }

    pub(crate) fn key_text(&self) -> &str {
        text(self.key.as_deref())
    }

    pub(crate) fn value_text(&self) -> &str {
        text(self.value.as_deref())
    }
}

fn text(bytes: Option<&[u8]>) -> &str {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Which broker leads a partition, and which have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) leader: i64,
    pub(crate) replicas: usize,
    pub(crate) in_sync: Vec<i64>,
}

/// kcat against one cluster.
pub(crate) struct Kcat {
    brokers: String,
}

impl Kcat {
    /// # Errors
    /// When kcat is not installed.
    pub(crate) fn new(brokers: &str) -> Result<Self, Trouble> {
        match Command::new("kcat").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(Self { brokers: brokers.to_owned() }),
            _ => invalid("kcat is missing, which reads the topics independently; on Debian: apt-get install kcat"),
        }
    }

    fn run(&self, seconds: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", seconds, "kcat", "-q", "-b", &self.brokers]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let why = String::from_utf8_lossy(&output.stderr);
        invalid(format!("kcat {}: {}: {}", arguments.join(" "), output.status, why.trim()))
    }

    /// Every record of a topic, in the order of each partition; complete from the first to the last offset.
    pub(crate) fn read(&self, topic: &str) -> Result<Vec<Record>, Trouble> {
        let output = self.run(READ_SECONDS, &["-C", "-t", topic, "-o", "beginning", "-e", "-f", FORMAT], b"")?;
        let Some(records) = parse(&output) else {
            return invalid(format!("kcat's output for {topic} is not understood"));
        };
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        for record in &records {
            let next = next.entry(record.partition).or_default();
            if record.offset != *next {
                return invalid(format!("{topic}/{}: {} is where {next} is expected", record.partition, record.offset));
            }
            *next += 1;
        }
        for (partition, end) in self.ends(topic)? {
            let read = next.get(&partition).copied().unwrap_or(0);
            if read != end {
                return invalid(format!("{topic}/{partition}: kcat read up to {read} of {end}"));
            }
        }
        Ok(records)
    }

    /// Offsets of the next records to be written, by partition.
    pub(crate) fn ends(&self, topic: &str) -> Result<BTreeMap<i32, i64>, Trouble> {
        let partitions = self.partitions()?.into_keys().filter(|at| at.0 == topic).map(|at| at.1);
        let asked: Vec<String> = partitions.map(|partition| format!("{topic}:{partition}:-1")).collect();
        let mut arguments = vec!["-Q"];
        arguments.extend(asked.iter().flat_map(|at| ["-t", at]));
        let output = self.run(ASK_SECONDS, &arguments, b"")?;
        // "topic [partition] offset 7"
        let read = |line: &str| {
            let (_, behind) = line.split_once(" [")?;
            let (partition, offset) = behind.split_once("] offset ")?;
            Some((partition.parse().ok()?, offset.trim().parse().ok()?))
        };
        let ends: BTreeMap<i32, i64> = String::from_utf8_lossy(&output).lines().filter_map(read).collect();
        if ends.len() == asked.len() { Ok(ends) } else { invalid(format!("the ends of {topic} are not known")) }
    }

    /// The state of every partition of the cluster, by topic and number.
    pub(crate) fn partitions(&self) -> Result<BTreeMap<(String, i32), PartitionState>, Trouble> {
        let output = self.run(ASK_SECONDS, &["-L", "-J"], b"")?;
        let Ok(json) = serde_json::from_slice::<Value>(&output) else { return invalid("kcat -L says no JSON") };
        let mut found = BTreeMap::new();
        for topic in json["topics"].as_array().into_iter().flatten() {
            let name = topic["topic"].as_str().unwrap_or_default();
            for at in topic["partitions"].as_array().into_iter().flatten() {
                let ids = |name: &str| at[name].as_array().into_iter().flatten().filter_map(|it| it["id"].as_i64());
                let number = at["partition"].as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(-1);
                let state = PartitionState {
                    leader: at["leader"].as_i64().unwrap_or(-1),
                    replicas: ids("replicas").count(),
                    in_sync: ids("isrs").collect(),
                };
                found.insert((name.to_owned(), number), state);
            }
        }
        Ok(found)
    }

    /// Writes a value under a key, placed as Java and the product place it.
    pub(crate) fn write(&self, topic: &str, key: &str, value: &str) -> Result<(), Trouble> {
        let properties = ["-X", "enable.idempotence=true", "-X", "topic.partitioner=murmur2_random"];
        let arguments = [&["-P", "-t", topic, "-k", key][..], &properties].concat();
        self.run(READ_SECONDS, &arguments, value.as_bytes()).map(drop)
    }
}

/// Reads what kcat printed in [`FORMAT`].
fn parse(mut rest: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let head = std::str::from_utf8(line(&mut rest)?).ok()?;
        let mut numbers = head.split(' ').map(str::parse::<i64>);
        let mut number = || numbers.next()?.ok();
        let (partition, offset, appended_ms) = (i32::try_from(number()?).ok()?, number()?, number()?);
        let (key_length, value_length) = (number()?, number()?);
        // A length of -1 means null.
        let mut take = |length: i64| -> Option<Option<Vec<u8>>> {
            let Ok(length) = usize::try_from(length) else { return Some(None) };
            let (bytes, behind) = rest.split_at_checked(length)?;
            rest = behind;
            Some(Some(bytes.to_vec()))
        };
        let (key, value) = (take(key_length)?, take(value_length)?);
        let headers = line(&mut rest).filter(|rest| rest.is_empty()).and_then(|_| line(&mut rest))?;
        let headers = String::from_utf8_lossy(headers).into_owned();
        records.push(Record { partition, offset, appended_ms, key, value, headers });
    }
    Some(records)
}

/// Takes a line off, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kcat_prints_is_read_whatever_bytes_there_are() {
        let output = b"0 4 99 2 3\nk\nv\n\x00\na=b,c=d\n1 0 98 -1 -1\n\n\n";
        let records = parse(output).unwrap();
        let [first, second] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((first.partition, first.offset, first.appended_ms), (0, 4, 99));
        assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some(&b"k\n"[..]), Some(&b"v\n\x00"[..])));
        assert_eq!((first.header("a"), first.header("c"), first.header("d")), (Some("b"), Some("d"), None));
        assert_eq!((second.partition, second.offset, &second.key, &second.value), (1, 0, &None, &None));
        assert_eq!(parse(b"0 4 99 2 300\nk\nv\n\n"), None, "cut off");
    }
}

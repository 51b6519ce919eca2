//! Whatever is in a commit's metadata is read without a panic, and what was read is written and read again the same.

#![no_main]

use delivery::member::progress::codec::{MAX_METADATA_BYTES, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (i64, &str, Vec<(u16, u16)>)| {
    let (base, text, lengths) = input;
    if let Ok(runs) = decode(base, text) {
        assert!(runs.is_sorted_by_key(|run| run.start));
        let again = encode(base, runs.iter().cloned(), MAX_METADATA_BYTES);
        assert!(again.is_ascii() && again.len() <= MAX_METADATA_BYTES);
        // Longer metadata than ours may be read; what is written of it is its beginning.
        assert!(runs.starts_with(&decode(base, &again).expect("what was written is read")));
    }
    // A fuzzer does not guess a checksum, so the way from runs is walked too.
    let base = base.rem_euclid(1 << 40);
    let mut at = base;
    let runs: Vec<_> = lengths
        .iter()
        .map(|(gap, length)| {
            let start = at + 1 + i64::from(*gap);
            at = start + 1 + i64::from(*length);
            start..at
        })
        .collect();
    let text = encode(base, runs.iter().cloned(), MAX_METADATA_BYTES);
    assert!(runs.starts_with(&decode(base, &text).expect("what was written is read")));
});

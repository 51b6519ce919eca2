//! How many records may be read, where what is free is a number of bytes and a record's size is known only when it is there.

/// The mean size of the records read lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordSize {
    records: usize,
    bytes: usize,
}

/// The mean is that of some more records than this; older ones count less and less.
const REMEMBERED_RECORDS: usize = 1_024;
/// What is thought of a record before the first was seen.
const FIRST_GUESS_BYTES: usize = 16 << 10;

impl Default for RecordSize {
    fn default() -> Self {
        Self { records: 1, bytes: FIRST_GUESS_BYTES }
    }
}

impl RecordSize {
    /// So many records were read, of so many bytes.
    pub(super) fn note(&mut self, records: usize, bytes: usize) {
        if self.records > REMEMBERED_RECORDS {
            self.records /= 2;
            self.bytes /= 2;
        }
        self.records += records;
        self.bytes += bytes;
    }

    /// Records that fit into so many bytes; at least one where there is a byte.
    pub(super) fn fitting(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.bytes.div_ceil(self.records).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_read_as_fit_by_the_size_of_those_before() {
        let mut size = RecordSize::default();
        assert_eq!((size.fitting(0), size.fitting(1), size.fitting(256 << 10)), (0, 1, 16));
        for _ in 0..20 {
            size.note(512, 512 * 100);
        }
        assert!((500..=512).contains(&size.fitting(51_200)), "{}", size.fitting(51_200));
        for _ in 0..200 {
            size.note(10, 10 << 20);
        }
        assert!(size.fitting(1 << 20) <= 2, "{}", size.fitting(1 << 20));
    }
}

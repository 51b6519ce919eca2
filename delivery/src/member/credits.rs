//! Credits: how many records and bytes may be on their way at once. They are taken at the poll and given back on settlement.

/// Bounds what is polled and not settled, in records and in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Credits {
    limit_records: usize,
    limit_bytes: usize,
    records: usize,
    bytes: usize,
}

impl Credits {
    /// All credits free.
    #[must_use]
    pub fn new(limit_records: usize, limit_bytes: usize) -> Self {
        Self { limit_records, limit_bytes, records: 0, bytes: 0 }
    }

    /// Records that may be polled now. Zero also when the bytes are used up; what is polled at once may pass the limit
    /// in bytes, for its size is known only then.
    #[must_use]
    pub fn free(&self) -> usize {
        if self.bytes >= self.limit_bytes { 0 } else { self.limit_records.saturating_sub(self.records) }
    }

    /// Bytes that are not used.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.bytes)
    }

    /// One record was polled.
    pub fn take(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    /// Records were settled or given up.
    pub fn give_back(&mut self, records: usize, bytes: usize) {
        debug_assert!(records <= self.records && bytes <= self.bytes, "credits given back that were never taken");
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Records on their way.
    #[must_use]
    pub fn used_records(&self) -> usize {
        self.records
    }

    /// Bytes on their way.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_run_out_in_records_or_in_bytes_and_come_back() {
        let mut credits = Credits::new(2, 100);
        assert_eq!(credits.free(), 2);
        credits.take(99);
        assert_eq!(credits.free(), 1);
        credits.take(500);
        assert_eq!(credits.free(), 0);
        credits.give_back(1, 99);
        assert_eq!(credits.free(), 0, "the bytes are still used up");
        credits.give_back(1, 500);
        assert_eq!((credits.free(), credits.used_records(), credits.used_bytes()), (2, 0, 0));
    }
}

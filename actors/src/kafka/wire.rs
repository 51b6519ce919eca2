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
    use super::*;

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
}

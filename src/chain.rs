//! The chain that binds a trail's records: each carries the SHA-256 of the whole line before it.
//!
//! Its promise: pure. What is hashed is what `sha256sum` hashes: the line's bytes with the line feed that ends it, so
//! that nobody needs this program to check a trail.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

/// A SHA-256: in a chain, that of the line before, or [`Hash::START`]. With a precision, so many of its digits are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; Self::BYTES]);

impl Hash {
    /// What the first record of a chain carries: there is none before it.
    pub const START: Self = Self([0; Self::BYTES]);

    /// Its length.
    pub const BYTES: usize = 32;

    /// Its length in hexadecimal.
    pub const DIGITS: usize = 2 * Self::BYTES;

    /// Of these bytes; in a chain, of a whole line, its end included.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = Self::START;
        for (to, from) in hash.0.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
            *to = *from;
        }
        hash
    }

    /// From bytes as [`Hash::bytes`] gave them; `None` for any other number of them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// In lower-case hexadecimal, as `sha256sum` prints it.
    #[must_use]
    pub fn hex(&self) -> [u8; Self::DIGITS] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [b'0'; Self::DIGITS];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }

    /// From 64 lower-case hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        // Without a branch: as many hashes are read as there are records.
        let digit = |byte: u8| match (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a')) {
            (digit @ ..10, _) => digit,
            (_, letter @ ..6) => letter + 10,
            _ => u8::MAX,
        };
        let hex: &[u8; Self::DIGITS] = hex.try_into().ok()?;
        let (mut hash, mut all) = (Self::START, 0);
        for (byte, pair) in hash.0.iter_mut().zip(hex.chunks_exact(2)) {
            let (high, low) = (digit(pair[0]), digit(pair[1]));
            all |= high | low;
            *byte = high << 4 | low;
        }
        (all < 16).then_some(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sha256sum_prints() {
        // printf 'abc\n' | sha256sum
        let known = "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb";
        let hash = Hash::of(b"abc\n");
        assert_eq!(hash.to_string(), known);
        assert_eq!(Hash::from_hex(known.as_bytes()), Some(hash));
        assert_eq!(Hash::from_bytes(hash.bytes()), Some(hash));
    }

    #[test]
    fn nothing_but_64_lower_case_digits_is_one() {
        let known = Hash::of(b"abc\n").to_string();
        for wrong in [known.to_uppercase(), known[1..].to_owned(), format!("{known}0"), known.replacen('e', "g", 1)] {
            assert_eq!(Hash::from_hex(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Hash::from_bytes(&[0; 31]), None);
        assert_eq!(Hash::from_hex(&[b'0'; 64]).unwrap(), Hash::START);
    }
}

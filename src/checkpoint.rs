//! Checkpoints: records that say, signed, how far a trail had come and when.
//!
//! Its promise: pure. A checkpoint is worth what its signature is: Ed25519 (RFC 8032) over a line of text that anybody
//! can put together from the record, so that OpenSSL or a few lines of Python can check it.
//!
//! A checkpoint is a record like any other: its `seq` says how many records there are, its `prev` is the hash of the one
//! before, to which all earlier ones are chained. So whoever has one checkpoint can tell whether anything before it was
//! changed since, and whoever gets one every few minutes that nothing happened between them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;

use crate::chain::Hash;
use crate::record::{self, Record};

/// The first of a `SubjectPublicKeyInfo` with an Ed25519 key (RFC 8410, section 4); the key's 32 bytes follow.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Ed25519 public key; expected what `cadfd key` prints: PEM, or its 44 characters of base64")]
pub struct KeyError;

/// What signatures are checked with. Written as 44 characters of base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// As PEM (RFC 7468), which OpenSSL reads.
    #[must_use]
    pub fn pem(&self) -> String {
        let der = [SPKI.as_slice(), &self.0].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    /// Whether `checkpoint` was signed with the private key that belongs to this.
    #[must_use]
    pub fn has_signed(&self, checkpoint: &Checkpoint) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        let text = signed_text(checkpoint.seq, &checkpoint.prev, checkpoint.at);
        STANDARD.decode(&checkpoint.signature).is_ok_and(|signature| key.verify(text.as_bytes(), &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    /// From PEM, or from its own base64.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----");
        let body = match body {
            Some(rest) => rest.strip_suffix("-----END PUBLIC KEY-----").ok_or(KeyError)?.split_whitespace().collect(),
            None => text.to_owned(),
        };
        let bytes = STANDARD.decode(body).map_err(|_| KeyError)?;
        let key = bytes.strip_prefix(&SPKI).unwrap_or(&bytes);
        key.try_into().map(Self).map_err(|_| KeyError)
    }
}

/// What a signature is over: `cadfd checkpoint 1` (the format's version), the checkpoint's own `seq`, `prev` and `at` as
/// they stand in its record, with a space between them and no line feed.
#[must_use]
pub fn signed_text(seq: u64, prev: &Hash, at: Timestamp) -> String {
    format!("cadfd checkpoint 1 {seq} {prev} {}", record::time(at))
}

/// What signs checkpoints.
#[derive(Debug)]
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// From a private key as PKCS #8 (RFC 5958, RFC 8410), DER.
    ///
    /// # Errors
    /// When it is no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError)?;
        let public = pair.public_key().as_ref().try_into().map(PublicKey).map_err(|_| KeyError)?;
        Ok(Self { pair, public })
    }

    /// The key that its signatures are checked with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The checkpoint that stands at this place of the trail.
    #[must_use]
    pub fn sign(&self, seq: u64, prev: &Hash, at: Timestamp) -> Checkpoint {
        let signature = self.pair.sign(signed_text(seq, prev, at).as_bytes());
        // As it is written: a record has no more than microseconds.
        Checkpoint { seq, prev: *prev, at, key: self.public, signature: STANDARD.encode(signature) }
    }
}

/// A checkpoint, as its record tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its own number: so many records there are, itself included.
    pub seq: u64,
    /// The hash of the record before it.
    pub prev: Hash,
    /// When.
    pub at: Timestamp,
    /// Whose it says it is.
    pub key: PublicKey,
    /// In base64.
    pub signature: String,
}

/// What a record of one is read as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    seq: u64,
    prev: &'a str,
    r#type: &'a str,
    at: &'a str,
    key: &'a str,
    signature: &'a str,
}

impl Checkpoint {
    /// What stands in the trail behind its place.
    #[must_use]
    pub fn rest_of_line(&self) -> Vec<u8> {
        let key = self.key.to_string();
        record::rest_of_line(&Record::Checkpoint { at: self.at, key: &key, signature: &self.signature })
    }

    /// The whole line, its end included.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        record::push_line(&mut line, self.seq, &self.prev, &self.rest_of_line());
        line
    }

    /// From its line, with or without its end; `None` for anything but the very bytes of [`Checkpoint::line`]: nothing
    /// in it can be changed that no signature covers.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
        let checkpoint = Self {
            seq: raw.seq,
            prev: Hash::from_hex(raw.prev.as_bytes())?,
            at: raw.at.parse().ok()?,
            key: raw.key.parse().ok()?,
            signature: raw.signature.to_owned(),
        };
        let same = raw.r#type == "checkpoint" && checkpoint.line().strip_suffix(b"\n") == Some(line);
        same.then_some(checkpoint)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn signer() -> Signer {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        Signer::from_pkcs8(pair.to_pkcs8v1().unwrap().as_ref()).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        signer().sign(17, &Hash::of(b"the line before\n"), "2026-11-21T10:05:50.664365Z".parse().unwrap())
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let checkpoint = checkpoint();
        assert!(signer().public().has_signed(&checkpoint));
        assert_eq!(Checkpoint::read(&checkpoint.line()), Some(checkpoint.clone()));
        let text = format!("cadfd checkpoint 1 17 {} 2026-11-21T10:05:50.664365Z", checkpoint.prev);
        assert_eq!(signed_text(17, &checkpoint.prev, checkpoint.at), text);
    }

    #[test]
    fn no_byte_of_it_can_be_changed() {
        let (line, key) = (checkpoint().line(), signer().public());
        for at in 0..line.len() - 1 {
            for flip in [0x01, 0x20, 0x80] {
                let mut changed = line.clone();
                changed[at] ^= flip;
                let found = Checkpoint::read(&changed);
                assert!(
                    found.is_none_or(|found| found.key != key || !key.has_signed(&found)),
                    "{}",
                    String::from_utf8_lossy(&changed)
                );
            }
        }
    }

    #[test]
    fn a_key_is_read_from_both_its_forms() {
        let key = signer().public();
        assert_eq!(key.pem().parse(), Ok(key));
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".parse::<PublicKey>(), Err(KeyError));
        assert_eq!("".parse::<PublicKey>(), Err(KeyError));
    }
}

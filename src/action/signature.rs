//! Signatures as the Standard Webhooks specification 1.0 defines them (standardwebhooks.com), symmetric kind.
//!
//! Its promise: a receiver that holds the key can prove who sent the body, when, and which delivery it is.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::BuildError;
use crate::secret::Secret;

/// In front of the key's base64.
const PREFIX: &str = "whsec_";

/// What the specification allows, in bytes.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A signing key. Shows nothing of itself.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

impl Key {
    /// From `whsec_<base64>`; the prefix may be missing.
    pub(super) fn new(secret: &Secret) -> Result<Self, BuildError> {
        let wrong = |problem: &str| BuildError::new("signing_secret", problem);
        let text = secret.expose().trim();
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&ALPHABET, lenient)
            .decode(text.strip_prefix(PREFIX).unwrap_or(text))
            .map_err(|_| wrong("not base64; expected whsec_ and the key in base64"))?;
        if !KEY_LENGTHS.contains(&bytes.len()) {
            return Err(wrong("a key has 24 to 64 bytes; make one with: echo whsec_$(openssl rand -base64 32)"));
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| wrong("not a key for HMAC-SHA256"))
    }

    /// The value of `webhook-signature`; `timestamp` is in Unix seconds, as in `webhook-timestamp`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// The vector in the specification's reference libraries.
    #[test]
    fn signs_as_the_reference_libraries_do() {
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"] {
            let key = Key::new(&Secret::new(secret)).unwrap();
            let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
            assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
            assert_eq!(format!("{key:?}"), "Key(***)");
        }
    }

    #[test]
    fn a_bad_key_is_refused_without_being_shown() {
        for (secret, expected) in [("whsec_not/base64!", "not base64"), ("whsec_aHVudGVyMg==", "24 to 64 bytes")] {
            let text = Key::new(&Secret::new(secret)).unwrap_err().to_string();
            assert!(text.starts_with("signing_secret: ") && text.contains(expected), "{text}");
            assert!(!text.contains(&secret[6..]), "{text}");
        }
    }
}

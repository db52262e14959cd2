//! Which texts are mail addresses.
//!
//! Its promise: what passes has one `@`, no quotes, no comments, no display name, and nothing that a header, a command or a
//! list of addresses could be broken with; it is far less than RFC 5321 allows, and what people use.

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mail address such as ops@example.org")]
pub struct AddressError(String);

/// RFC 5321 section 4.5.3.1: of the part before the `@`, and of the whole.
const LOCAL: usize = 64;
const WHOLE: usize = 254;

/// Whether it is one.
///
/// # Errors
/// Quotes it, where it is none.
pub fn check(text: &str) -> Result<(), AddressError> {
    let is_one = text.len() <= WHOLE
        && text.split_once('@').is_some_and(|(local, domain)| {
            is_local(local) && domain.split('.').all(is_label) && text.parse::<lettre::Address>().is_ok()
        });
    let shown = || text.chars().take(80).collect();
    if is_one { Ok(()) } else { Err(AddressError(shown())) }
}

/// RFC 5322's dot-atom.
fn is_local(local: &str) -> bool {
    let atom = |atom: &str| {
        !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    local.len() <= LOCAL && local.split('.').all(atom)
}

fn is_label(label: &str) -> bool {
    let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_use_passes_and_nothing_else() {
        for good in ["ops@example.org", "a.b+c@mail.example.org", "root@localhost", "o'neil@x-y.example"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in [
            "",
            "ops",
            "@example.org",
            "ops@",
            "a@b@c",
            "a b@example.org",
            "ops@example.org, eve@example.net",
            "ops@example.org\r\nBcc: eve@example.net",
            "ops@example.org>\r\nRCPT TO:<eve@example.net",
            "<ops@example.org>",
            "Ops <ops@example.org>",
            "\"a b\"@example.org",
            "ops@[127.0.0.1]",
            "ops@-example.org",
            "ops@example..org",
            ".ops@example.org",
            "öps@example.org",
            "ops@exämple.org",
            "ops@example.org\0",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}

//! Networks as they are written, and what is known of each: the most specific one that holds an address.
//!
//! Its promise: pure; an IPv4 address in IPv6's clothes (`::ffff:10.0.0.1`) is an IPv4 address; finding one takes a hash
//! for each length of prefix that is in use, however many networks there are.

// Addresses only: sockets are in the standard library's own.
use core::net::IpAddr;
use std::collections::HashMap;

use ipnet::{IpNet, Ipv4Net};
use minijinja::Value;

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is something else.
    #[error("expected a network such as 10.0.0.0/8 or 2001:db8::/32, or an address, found {0:?}")]
    Other(String),
    /// Its address has bits that its prefix leaves out: one of the two is a slip.
    #[error("{0} has bits beyond its prefix; write {1} for the network, or the address without a prefix")]
    Beyond(String, IpNet),
}

/// Reads a network, or an address, which is a network of its own.
///
/// # Errors
/// When it is neither, or has bits beyond its prefix.
pub fn network(text: &str) -> Result<IpNet, NetworkError> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    let net = text.parse::<IpNet>().or_else(|_| alone()).map_err(|_| NetworkError::Other(shortened(text)))?;
    if net != net.trunc() {
        return Err(NetworkError::Beyond(text.to_owned(), canonical(net.trunc())));
    }
    Ok(canonical(net))
}

/// Enough of a text to find it again.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

fn canonical(net: IpNet) -> IpNet {
    let mapped = match net.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let inner = mapped.and_then(|address| Ipv4Net::new(address, net.prefix_len().checked_sub(96)?).ok());
    inner.map_or(net, IpNet::V4)
}

/// The address that a value of an event or a template is, if it is one.
pub(super) fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Networks with what is known of each.
#[derive(Debug)]
pub(super) struct Networks<V> {
    known: HashMap<IpNet, V>,
    /// The prefixes' lengths in use, the longest first: IPv4's and IPv6's.
    lengths: [Vec<u8>; 2],
}

impl<V> Default for Networks<V> {
    fn default() -> Self {
        Self { known: HashMap::new(), lengths: [Vec::new(), Vec::new()] }
    }
}

impl<V> Networks<V> {
    /// What was known of the network before, if it was known.
    pub(super) fn insert(&mut self, net: IpNet, value: V) -> Option<V> {
        let lengths = &mut self.lengths[usize::from(matches!(net, IpNet::V6(_)))];
        if let Err(at) = lengths.binary_search_by(|known| net.prefix_len().cmp(known)) {
            lengths.insert(at, net.prefix_len());
        }
        self.known.insert(net, value)
    }

    /// What is known of the most specific network that holds the address.
    pub(super) fn get(&self, address: IpAddr) -> Option<&V> {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        lengths.iter().find_map(|length| self.known.get(&IpNet::new(address, *length).ok()?.trunc()))
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_network_counts() {
        let mut networks = Networks::default();
        for text in ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0", "::ffff:192.168.0.0/112"] {
            assert_eq!(networks.insert(network(text).unwrap(), text), None);
        }
        assert_eq!(networks.insert(network("10.1.0.0/16").unwrap(), "again"), Some("10.1.0.0/16"));
        let of = |text: &str| networks.get(address(&Value::from(text)).unwrap()).copied();
        assert_eq!(of("10.1.2.3"), Some("10.1.2.3"));
        assert_eq!(of("10.1.2.4"), Some("again"));
        assert_eq!(of("10.2.0.1"), Some("10.0.0.0/8"));
        assert_eq!(of("11.2.0.1"), Some("0.0.0.0/0"));
        assert_eq!(of("::ffff:10.2.0.1"), Some("10.0.0.0/8"));
        assert_eq!(of("192.168.3.4"), Some("::ffff:192.168.0.0/112"));
        assert_eq!((of("2001:db8::1"), of("2001:db9::1")), (Some("2001:db8::/32"), None));
        assert_eq!(networks.len(), 6);
    }

    #[test]
    fn what_is_no_network_is_said() {
        let said = |text: &str| network(text).unwrap_err().to_string();
        for text in ["", "10.0.0.0/33", "10.0.0", "controller", "10.0.0.1/", "fe80::/129"] {
            assert!(said(text).starts_with("expected a network such as 10.0.0.0/8"), "{text}: {}", said(text));
        }
        assert_eq!(
            said("10.1.2.3/8"),
            "10.1.2.3/8 has bits beyond its prefix; write 10.0.0.0/8 for the network, or the address without a prefix"
        );
    }
}

//! The client's address, taken from trusted hops only.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;
use smallvec::SmallVec;

/// The address a request is attributed to. An IPv4 address mapped into IPv6 is unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

/// An address cut to its prefix, as a limit counts it: one IPv4 address, or one IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressKey(IpAddr);

impl ClientAddress {
    /// From an address that is known to be the client's.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self(unmapped(address))
    }

    /// The address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }

    /// The address cut for counting. A subscriber usually owns a /64 of IPv6, so counting single addresses would
    /// count nobody.
    #[must_use]
    pub fn key(self, ipv6_prefix: u8) -> AddressKey {
        match self.0 {
            IpAddr::V4(_) => AddressKey(self.0),
            IpAddr::V6(address) => {
                let prefix = u32::from(ipv6_prefix.min(128));
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                AddressKey(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask)))
            }
        }
    }
}

impl AddressKey {
    /// The network's first address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

/// `::ffff:a.b.c.d` as `a.b.c.d`, every other address as it is.
#[must_use]
pub fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The header in which trusted hops name the address they were called from. Only one is believed: a proxy that writes
/// one of them passes the others through as the client wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardHeader {
    /// A list of addresses, each hop appending its caller (`X-Forwarded-For`).
    List(HeaderName),
    /// `Forwarded` of RFC 7239.
    Forwarded,
    /// One address, overwritten by the last hop (`CF-Connecting-IP`, `X-Real-IP`).
    Single(HeaderName),
}

impl Default for ForwardHeader {
    fn default() -> Self {
        Self::List(HeaderName::from_static("x-forwarded-for"))
    }
}

/// The networks whose word about the client's address is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedHops {
    networks: Vec<IpNet>,
    header: ForwardHeader,
}

/// At most this many forwarding entries are read; a longer chain is somebody's invention.
const MAX_HOPS: usize = 32;

impl TrustedHops {
    /// Believes the given networks about the given header. With no network nobody is believed.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>, header: ForwardHeader) -> Self {
        Self { networks, header }
    }

    /// Whether the address is a trusted hop.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = unmapped(address);
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the nearest one, counted from us, that is not a trusted hop.
    ///
    /// An entry that is not an address ends the walk at the hop that wrote it, so that garbage cannot choose a key.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut nearest = unmapped(peer);
        if self.networks.is_empty() || !self.trusts(nearest) {
            return ClientAddress(nearest);
        }
        for entry in self.entries(headers) {
            let Some(address) = entry else { break };
            nearest = address;
            if !self.trusts(address) {
                break;
            }
        }
        ClientAddress(nearest)
    }

    /// The forwarding entries from the nearest to the farthest; `None` for one that is not an address.
    fn entries(&self, headers: &HeaderMap) -> SmallVec<[Option<IpAddr>; 4]> {
        let mut entries = SmallVec::new();
        match &self.header {
            ForwardHeader::Single(name) => {
                let mut values = headers.get_all(name).iter();
                if let (Some(value), None) = (values.next(), values.next()) {
                    entries.push(value.to_str().ok().and_then(node_address));
                }
            }
            ForwardHeader::List(name) => {
                for value in headers.get_all(name).iter().rev() {
                    let Ok(text) = value.to_str() else {
                        entries.push(None);
                        break;
                    };
                    entries.extend(text.rsplit(',').map(node_address).take(MAX_HOPS));
                }
            }
            ForwardHeader::Forwarded => {
                for value in headers.get_all(FORWARDED).iter().rev() {
                    let Ok(text) = value.to_str() else {
                        entries.push(None);
                        break;
                    };
                    entries.extend(text.rsplit(',').map(forwarded_for).take(MAX_HOPS));
                }
            }
        }
        entries.truncate(MAX_HOPS);
        entries
    }
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None;
            }
            found = Some(node_address(value.trim().trim_matches('"'))?);
        }
    }
    found
}

/// An address with an optional port: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]:443`.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = if let Some(rest) = text.strip_prefix('[') {
        let (inside, port) = rest.split_once(']')?;
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        inside
    } else if let Some((host, port)) = text.split_once(':')
        && !port.contains(':')
    {
        if !is_port(port) {
            return None;
        }
        host
    } else {
        text
    };
    bare.parse().ok().map(unmapped)
}

/// Whether the text is a port number.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(hops: &TrustedHops, peer: &str, name: &'static str, values: &[&str]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        hops.client(ip(peer), &headers).ip()
    }

    fn ten() -> TrustedHops {
        TrustedHops::new(vec!["10.0.0.0/8".parse().unwrap()], ForwardHeader::default())
    }

    #[test]
    fn a_stranger_is_not_believed_about_its_address() {
        assert_eq!(client(&ten(), "192.0.2.7", "x-forwarded-for", &["198.51.100.1"]), ip("192.0.2.7"));
        let nobody = TrustedHops::default();
        assert_eq!(client(&nobody, "10.0.0.1", "x-forwarded-for", &["198.51.100.1"]), ip("10.0.0.1"));
    }

    #[test]
    fn trusted_hops_are_walked_from_right_to_left() {
        let chain = ["1.1.1.1, 198.51.100.1", "10.0.0.9"];
        assert_eq!(client(&ten(), "10.0.0.1", "x-forwarded-for", &chain), ip("198.51.100.1"));
    }

    #[test]
    fn garbage_cannot_choose_a_key() {
        let chain = ["198.51.100.1, unknown, 10.0.0.9"];
        assert_eq!(client(&ten(), "10.0.0.1", "x-forwarded-for", &chain), ip("10.0.0.9"));
        assert_eq!(client(&ten(), "10.0.0.1", "x-forwarded-for", &["1.2.3.4:x"]), ip("10.0.0.1"));
    }

    #[test]
    fn only_the_configured_header_is_believed() {
        assert_eq!(client(&ten(), "10.0.0.1", "forwarded", &["for=198.51.100.1"]), ip("10.0.0.1"));
        let rfc = TrustedHops::new(vec!["10.0.0.0/8".parse().unwrap()], ForwardHeader::Forwarded);
        let value = r#"for=1.1.1.1, for="[2001:db8::1]:4711";proto=http"#;
        assert_eq!(client(&rfc, "10.0.0.1", "forwarded", &[value]), ip("2001:db8::1"));
        let single = ForwardHeader::Single(HeaderName::from_static("cf-connecting-ip"));
        let cdn = TrustedHops::new(vec!["10.0.0.0/8".parse().unwrap()], single);
        assert_eq!(client(&cdn, "10.0.0.1", "cf-connecting-ip", &["198.51.100.1"]), ip("198.51.100.1"));
        assert_eq!(client(&cdn, "10.0.0.1", "cf-connecting-ip", &["198.51.100.1", "1.1.1.1"]), ip("10.0.0.1"));
    }

    #[test]
    fn mapped_ipv4_is_unwrapped_before_trust_is_asked() {
        assert_eq!(client(&ten(), "::ffff:10.0.0.1", "x-forwarded-for", &["::ffff:192.0.2.1"]), ip("192.0.2.1"));
    }

    #[test]
    fn an_ipv6_key_is_a_network() {
        let a = ClientAddress::new(ip("2001:db8::1"));
        let b = ClientAddress::new(ip("2001:db8::ffff:2"));
        assert_eq!(a.key(64), b.key(64));
        assert_ne!(a.key(128), b.key(128));
        assert_eq!(a.key(0).ip(), ip("::"));
        assert_ne!(ClientAddress::new(ip("10.0.0.1")).key(64), ClientAddress::new(ip("10.0.0.2")).key(64));
    }
}

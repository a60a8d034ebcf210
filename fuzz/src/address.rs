//! The headers in which proxies name the client's address.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName};
use portcullis_core::{ForwardHeader, TrustedHops, unmapped};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// A stranger's word about the address counts for nothing; a proxy's names an address in its plain form, and never one that
/// stands left of the first that no proxy of ours wrote.
///
/// # Panics
/// Where that is not so.
pub fn address(data: &[u8]) {
    let single = HeaderName::from_static("cf-connecting-ip");
    let ways = [ForwardHeader::default(), ForwardHeader::Forwarded, ForwardHeader::Single(single.clone())];
    for way in ways {
        let name = match &way {
            ForwardHeader::List(name) | ForwardHeader::Single(name) => name.clone(),
            ForwardHeader::Forwarded => HeaderName::from_static("forwarded"),
        };
        let mut headers = HeaderMap::new();
        for value in crate::values(data) {
            headers.append(&name, value);
        }
        let hops = TrustedHops::new(vec!["10.0.0.0/8".parse().expect("a network")], way);
        assert_eq!(hops.client(STRANGER, &headers).ip(), STRANGER);
        let told = hops.client(PROXY, &headers).ip();
        assert_eq!(told, unmapped(told), "{headers:?}");
        // Whatever a client writes in front, what the proxy appends decides.
        if name == "x-forwarded-for" {
            headers.append(&name, http::HeaderValue::from_static("198.51.100.9"));
            assert_eq!(hops.client(PROXY, &headers).ip(), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)), "{headers:?}");
        }
    }
}

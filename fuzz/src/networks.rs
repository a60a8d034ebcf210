//! Lists of networks.

use std::net::IpAddr;

use portcullis_gateway::config::Source;

use crate::config::Nowhere;

/// A list of networks is refused, or trusts exactly those addresses that a plain reading of its lines trusts.
///
/// # Panics
/// Where that is not so.
pub fn networks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let list: Vec<&str> = text.lines().take(64).collect();
    let written = serde_json::to_string(&list).expect("a list of texts");
    let file = format!("upstream = \"http://127.0.0.1:3000\"\n[client]\ntrusted_hops = {written}\n");
    let Ok(loaded) = Source::text("fuzz.toml", file).load_with(&Nowhere) else { return };
    let hops = &loaded.settings.transport.trusted_hops;
    let plain: Vec<(u128, u8, bool)> = list.iter().map(|line| network(line)).collect();
    let mut probes = vec![0, u128::MAX, 1 << 32, (1 << 32) - 1];
    for (base, _, _) in &plain {
        probes.extend([*base, base.wrapping_sub(1), base.wrapping_add(1), base ^ (1 << 8), base ^ (1 << 64)]);
    }
    for probe in probes {
        if let Ok(short) = u32::try_from(probe) {
            let trusted = plain.iter().any(|(base, length, v4)| *v4 && covers(*base, *length, 32, u128::from(short)));
            let probe = IpAddr::from(short.to_be_bytes());
            assert_eq!(hops.trusts(probe), trusted, "{probe} in {list:?}");
        }
    }
}

/// The first address of a network, the length of its prefix, and whether it is one of IPv4.
fn network(line: &str) -> (u128, u8, bool) {
    let (address, length) = line.split_once('/').map_or((line, None), |(left, right)| (left, Some(right)));
    let address: IpAddr = address.parse().expect("a network that was accepted begins with an address");
    let length = length.map(|length| length.parse::<u8>().expect("a network that was accepted has a length"));
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), length.unwrap_or(32), true),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => (u128::from(u32::from(mapped)), length.map_or(32, |length| length - 96), true),
            None => (u128::from(address), length.unwrap_or(128), false),
        },
    }
}

fn covers(base: u128, length: u8, bits: u8, probe: u128) -> bool {
    let shift = u32::from(bits.saturating_sub(length));
    base.checked_shr(shift).unwrap_or(0) == probe.checked_shr(shift).unwrap_or(0)
}

//! The fingerprint of RSA keys made by the Infineon library (CVE-2017-15361, "ROCA"): modulo every small prime the
//! modulus is a power of 65537. A healthy key has that property with a chance below 2⁻²⁷.

/// Odd primes up to 167, as the discoverers used for keys of up to 4096 bits.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus (big-endian) bears the fingerprint.
pub(super) fn is_vulnerable(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let residue = modulus.iter().fold(0, |residue, byte| (residue << 8 | u32::from(*byte)) % prime);
        is_power_of_generator(residue, *prime)
    })
}

/// Whether the residue is a power of 65537 modulo the prime.
fn is_power_of_generator(residue: u32, prime: u32) -> bool {
    let generator = 65_537 % prime;
    let mut power = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * generator % prime;
    }
    false
}

//! The address at which a node answers path probes: made from its tunnel's public key, so nobody has to hand it out.

use std::net::Ipv6Addr;

use cluster_registry::node::PublicKey;

/// The first byte of every probe address: the locally assigned half of the unique local range (RFC 4193, section 3.1).
const PREFIX: u8 = 0xfd;

/// The start and the multiplier of FNV-1a at 128 bits.
const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The probe address of the node whose tunnel has this public key: `fd` and 120 bits of the key's hash.
///
/// The hash only spreads the bits. What proves that an address is a node's own is that the tunnel takes packets from it
/// from that node alone, and that an announced address is compared with this one.
pub fn probe_address(public_key: &PublicKey) -> Ipv6Addr {
    let hash = public_key.0.iter().fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(FNV_PRIME)
    });
    let mut octets = hash.to_be_bytes();
    octets[0] = PREFIX;
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_address_of_a_key_never_changes() {
        let address = probe_address(&PublicKey([7; 32]));

        assert_eq!(address, probe_address(&PublicKey([7; 32])));
        assert_eq!(address.octets()[0], 0xfd);
        assert!(address.is_unique_local());
    }

    #[test]
    fn keys_that_differ_in_one_bit_have_unlike_addresses() {
        let addresses: BTreeSet<Ipv6Addr> = (0..256)
            .map(|bit| {
                let mut key = [0; 32];
                key[bit / 8] = 1 << (bit % 8);
                probe_address(&PublicKey(key))
            })
            .collect();

        assert_eq!(addresses.len(), 256);
    }
}

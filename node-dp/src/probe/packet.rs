//! The bytes of a probe and of its answer.
//!
//! ```text
//!  0      4         5      6          8          16       32
//!  "ISTP" | version | kind | reserved | sequence | token |
//! ```
//!
//! An answer is its probe with another kind, so it is never longer than what asked for it. The token is the prober's: made
//! from a secret, the answerer's address and the sequence, it shows that the answerer has seen the probe.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;

/// The length of either, in bytes.
pub(super) const LENGTH: usize = 32;

const MAGIC: [u8; 4] = *b"ISTP";
const VERSION: u8 = 1;
const REQUEST: u8 = 1;
const ANSWER: u8 = 2;
const TOKEN: usize = 16;

/// A packet that is one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// A probe; these bytes answer it.
    Request([u8; LENGTH]),
    /// An answer to a probe of ours.
    Answer {
        /// The number that the probe carried.
        sequence: u64,
    },
}

/// Makes probes and knows their answers.
pub(super) struct Prover(hmac::Key);

impl Prover {
    /// With a new secret.
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// The probe for a node.
    pub(super) fn request(&self, to: SocketAddr, sequence: u64) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = REQUEST;
        bytes[8..16].copy_from_slice(&sequence.to_be_bytes());
        bytes[16..].copy_from_slice(&self.token(to, sequence));
        bytes
    }

    /// What the bytes from an address are; `None` if they are nothing of ours.
    pub(super) fn read(&self, from: SocketAddr, bytes: &[u8]) -> Option<Packet> {
        let mut bytes: [u8; LENGTH] = bytes.try_into().ok()?;
        let [m0, m1, m2, m3, version, kind, _, _, rest @ ..] = bytes;
        if [m0, m1, m2, m3] != MAGIC || version != VERSION {
            return None;
        }
        match kind {
            REQUEST => {
                bytes[5] = ANSWER;
                Some(Packet::Request(bytes))
            }
            ANSWER => {
                let (sequence, token) = rest.split_first_chunk::<8>()?;
                let sequence = u64::from_be_bytes(*sequence);
                (self.token(from, sequence) == *token).then_some(Packet::Answer { sequence })
            }
            _ => None,
        }
    }

    fn token(&self, answerer: SocketAddr, sequence: u64) -> [u8; TOKEN] {
        let address = match answerer.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&address.octets());
        context.update(&answerer.port().to_be_bytes());
        context.update(&sequence.to_be_bytes());
        let mut token = [0; TOKEN];
        for (to, from) in token.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leads_back_to_its_probe() {
        let (prover, other) = provers();

        let probe = prover.request(node(1), 7);
        let Some(Packet::Request(answer)) = other.read(node(2), &probe) else {
            panic!("not a probe");
        };

        assert_eq!(
            prover.read(node(1), &answer),
            Some(Packet::Answer { sequence: 7 })
        );
    }

    #[test]
    fn an_answer_of_another_node_or_with_another_number_is_none() {
        let (prover, other) = provers();
        let probe = prover.request(node(1), 7);
        let Some(Packet::Request(answer)) = other.read(node(2), &probe) else {
            panic!("not a probe");
        };

        assert_eq!(prover.read(node(3), &answer), None);
        for (at, bit) in (8..LENGTH).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut forged = answer;
            forged[at] ^= 1 << bit;
            assert_eq!(prover.read(node(1), &forged), None, "byte {at} bit {bit}");
        }
    }

    #[test]
    fn what_is_no_probe_is_not_answered() {
        let (prover, _) = provers();
        let probe = prover.request(node(1), 7);

        assert_eq!(prover.read(node(1), &[]), None);
        assert_eq!(prover.read(node(1), &probe[..LENGTH - 1]), None);
        assert_eq!(prover.read(node(1), &[&probe[..], &[0]].concat()), None);
        for at in 0..6 {
            let mut other = probe;
            other[at] ^= 0x80;
            assert_eq!(prover.read(node(1), &other), None, "byte {at}");
        }
    }

    fn provers() -> (Prover, Prover) {
        (Prover::new([1; 32]), Prover::new([2; 32]))
    }

    fn node(number: u16) -> SocketAddr {
        SocketAddr::from(([0xfd, 0, 0, 0, 0, 0, 0, number], 4701))
    }
}

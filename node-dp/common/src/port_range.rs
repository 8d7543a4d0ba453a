//! The ports that flows take on the way to their backend when their client's own is taken or another address stands for it.

use crate::address::Port;

/// How many ports are tried for a flow.
///
/// Each is drawn independently, so where a share `a` of the range is taken towards one backend, a flow finds none with a
/// chance of `a^32`: 0.08 % at four fifths.
pub const ATTEMPTS: u32 = 32;

/// The first port that is taken.
///
/// The range lies below node ports (30000 to 32767) and the ports that the node's own sockets take (32768 to 60999), so it
/// meets neither. A daemon may listen in it: only packets from a flow's own backend and port are the flow's.
const FIRST: u16 = 10_000;

/// How many ports there are: as many flows can go from a node to one port of a backend at a time.
const COUNT: u32 = 20_000;

/// The port to try for a flow of the given hash; attempts are numbered from zero.
#[inline(always)]
pub fn candidate(hash: u64, attempt: u32) -> Port {
    let mixed = (hash ^ u64::from(attempt) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let offset = ((mixed >> 32) * u64::from(COUNT)) >> 32;
    // Below the count, which is below 2^16.
    Port::from(FIRST + offset as u16)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn candidates_stay_in_the_range_and_reach_most_of_it() {
        let ports: BTreeSet<u16> = (0..200_000u64)
            .map(|hash| candidate(hash.wrapping_mul(0x2545_f491_4f6c_dd1d), 0).number())
            .collect();

        assert!(ports.iter().all(|port| (10_000..30_000).contains(port)));
        assert!(ports.len() > 19_900, "{}", ports.len());
    }

    #[test]
    fn attempts_for_one_flow_are_different_ports() {
        for hash in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            let ports: BTreeSet<Port> = (0..ATTEMPTS).map(|a| candidate(hash, a)).collect();

            assert!(ports.len() >= 31, "{hash:#x}: {}", ports.len());
        }
    }
}

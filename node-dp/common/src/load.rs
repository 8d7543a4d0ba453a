//! What the programs that measure forwarding send: TCP segments of many flows that are under way, over IPv4.

use crate::{Address, Tuple};

/// The half words of a frame without a payload: headers of Ethernet, IPv4 and TCP.
pub const SEGMENT: usize = (14 + 20 + 20) / 2;

/// How many flows a client has before the next one's begin.
pub const FLOWS_OF_A_CLIENT: u32 = 40_000;

/// The first port of a client.
pub const FIRST_PORT: u16 = 20_000;

/// What to send.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The index of the device to send through.
    pub device: u32,
    /// How many flows, in turns.
    pub flows: u32,
    /// The first one's tuple.
    pub first: Tuple,
    /// The first one's frame, with its checksums.
    pub template: [u16; SEGMENT],
    _pad: [u8; 2],
}

const _: () = assert!(size_of::<Plan>() == 100);

impl Plan {
    /// Sends `flows` flows through a device, like `template`, whose tuple is `first`.
    pub fn new(device: u32, flows: u32, first: Tuple, template: [u16; SEGMENT]) -> Self {
        Self {
            device,
            flows,
            first,
            template,
            _pad: [0; 2],
        }
    }

    /// The tuple of a flow by its number: the next port of a client, or the next client.
    #[inline(always)]
    pub fn tuple(&self, number: u32) -> Tuple {
        let client = u32::from_be(self.first.source.to_words()[3]) + number / FLOWS_OF_A_CLIENT;
        let port = u32::from(FIRST_PORT) + number % FLOWS_OF_A_CLIENT;
        Tuple {
            source: Address::from_v4_word(client.to_be()),
            source_port: (port as u16).into(),
            ..self.first
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn flows_differ_and_the_first_is_the_templates() {
        let first = Tuple {
            source: core::net::Ipv4Addr::new(198, 51, 100, 1).into(),
            source_port: FIRST_PORT.into(),
            destination: core::net::Ipv4Addr::new(192, 0, 2, 1).into(),
            destination_port: 80.into(),
        };
        let plan = Plan::new(1, 60_000, first, [0; SEGMENT]);

        assert_eq!(plan.tuple(0), first);
        let all: BTreeSet<Tuple> = (0..plan.flows).map(|number| plan.tuple(number)).collect();
        assert_eq!(all.len(), 60_000);
    }
}

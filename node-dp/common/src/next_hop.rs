//! Where a flow's packets leave the node, as the fast path remembers it with the flow for a second at a time.

/// A hardware address of Ethernet.
pub type EthernetAddress = [u8; 6];

/// So many seconds pass between two packets of a flow that the kernel is shown in each direction.
///
/// The kernel forgets that a neighbour is alive after 15 to 45 s without a packet to it, and asks it again only when the next
/// one comes.
pub const TURN_S: u32 = 16;

/// A way out of the node: a device, and what the link header says there.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NextHop {
    checked: u32,
    device: u32,
    largest: u16,
    arrival: EthernetAddress,
    addresses: [EthernetAddress; 2],
}

const _: () = assert!(size_of::<NextHop>() == 28);

impl NextHop {
    /// The kernel has no way out that the fast path may take; asked at a second since boot.
    #[inline(always)]
    pub fn clear(&mut self, now: u32) {
        self.checked = now;
        self.device = 0;
    }

    /// A way out for packets of up to `largest` bytes from the IP header on that arrive at a hardware address of the node, by the
    /// second in which the kernel was asked.
    ///
    /// `addresses` are what the link header begins with: whom the packet goes to, and whom it comes from. Written where it
    /// stands, as all of it at once is more than a program's stack has room for.
    #[inline(always)]
    pub fn lead(
        &mut self,
        device: u32,
        largest: u16,
        arrival: &EthernetAddress,
        addresses: [&EthernetAddress; 2],
    ) {
        let [to, from] = addresses;
        self.device = device;
        self.largest = largest;
        self.arrival = *arrival;
        self.addresses = [*to, *from];
    }

    /// Whether the kernel is to be asked anew: it was asked in another second, or never.
    #[inline(always)]
    pub fn is_stale(&self, now: u32) -> bool {
        self.checked != now
    }

    /// Whether there is a way out for packets that arrive at a hardware address.
    #[inline(always)]
    pub fn is_for(&self, arrival: EthernetAddress) -> bool {
        self.device != 0 && self.arrival == arrival
    }

    /// Whether a packet of so many bytes from the IP header on is known to fit.
    #[inline(always)]
    pub fn fits(&self, length: u16) -> bool {
        length <= self.largest
    }

    /// The index of the device.
    #[inline(always)]
    pub fn device(&self) -> u32 {
        self.device
    }

    /// The hardware addresses at the head of the link header.
    #[inline(always)]
    pub fn addresses(&self) -> [EthernetAddress; 2] {
        self.addresses
    }
}

/// Whether the kernel is shown the packet with which a flow's next hop becomes stale; `port` spreads flows over the seconds.
#[inline(always)]
pub fn is_turn(now: u32, port: u16) -> bool {
    now.wrapping_add(u32::from(port)).is_multiple_of(TURN_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: EthernetAddress = [2, 0, 0, 0, 0, 1];
    const THERE: EthernetAddress = [2, 0, 0, 0, 0, 2];

    #[test]
    fn what_was_never_asked_for_is_stale_and_no_way() {
        let hop = NextHop::default();

        assert!(hop.is_stale(1));
        assert!(!hop.is_for([0; 6]));
    }

    #[test]
    fn a_way_counts_for_its_second_its_address_and_its_length() {
        let mut hop = NextHop::default();
        hop.clear(7);
        assert!(!hop.is_for(HERE));
        hop.lead(3, 1500, &HERE, [&THERE, &HERE]);

        assert!(!hop.is_stale(7));
        assert!(hop.is_stale(8));
        assert!(hop.is_for(HERE));
        assert!(!hop.is_for(THERE));
        assert!(hop.fits(1500));
        assert!(!hop.fits(1501));
        hop.clear(8);
        assert!(!hop.is_for(HERE));
    }

    #[test]
    fn every_flow_has_one_turn_in_sixteen_seconds() {
        for port in [0, 1, 40_000, u16::MAX] {
            let turns = (100..100 + TURN_S).filter(|now| is_turn(*now, port));
            assert_eq!(turns.count(), 1);
        }
    }
}

//! A packet's headers, and where they are.

use node_dp_common::Address;

use crate::packet::Packet;

/// The protocols' numbers.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP_V4: u8 = 1;
pub(crate) const ICMP_V6: u8 = 58;

/// Extension headers of IPv6 that are stepped over.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// More of them than any real packet has.
const MOST_EXTENSIONS: usize = 4;

const ETHERTYPE_V4: u32 = 0x0800_u16.to_be() as u32;
const ETHERTYPE_V6: u32 = 0x86dd_u16.to_be() as u32;

// The headers are aligned as they are in a packet, whose link header of 14 bytes lets them begin at any even address.

/// An IPv4 header without options.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub(crate) struct Ipv4Header {
    pub(crate) version_and_length: u8,
    pub(crate) class: u8,
    pub(crate) total_length: u16,
    pub(crate) id: u16,
    pub(crate) fragment: u16,
    pub(crate) hops: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: u16,
    pub(crate) source: u32,
    pub(crate) destination: u32,
}

const _: () = assert!(size_of::<Ipv4Header>() == 20);

/// An IPv6 header.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub(crate) struct Ipv6Header {
    pub(crate) version_and_class: u32,
    pub(crate) length: u16,
    pub(crate) next: u8,
    pub(crate) hops: u8,
    pub(crate) source: [u32; 4],
    pub(crate) destination: [u32; 4],
}

const _: () = assert!(size_of::<Ipv6Header>() == 40);

/// A TCP header without options.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub(crate) struct TcpHeader {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) length: u8,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) checksum: u16,
    pub(crate) urgent: u16,
}

const _: () = assert!(size_of::<TcpHeader>() == 20);

/// A UDP header.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub(crate) struct UdpHeader {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) length: u16,
    pub(crate) checksum: u16,
}

const _: () = assert!(size_of::<UdpHeader>() == 8);

/// Which of a datagram's fragments a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// The whole datagram.
    Whole,
    /// The first, which has the ports.
    First,
    /// One that has none.
    Later,
}

/// Where a packet's headers are and what the outermost say.
pub(crate) struct Layers {
    pub(crate) is_v4: bool,
    pub(crate) protocol: u8,
    pub(crate) fragment: Fragment,
    pub(crate) fragment_id: u32,
    /// The offset of the IP header.
    pub(crate) ip: u32,
    /// The offset of what follows the IP headers.
    pub(crate) transport: u32,
    /// The offset behind the packet's last byte, as the IP header has it.
    pub(crate) end: u32,
    pub(crate) source: Address,
    pub(crate) destination: Address,
}

impl Packet {
    /// Finds the headers of the packet; `None` if it is not IP or ends before its headers do.
    #[inline(always)]
    pub(crate) fn find(&self, layers: &mut Layers) -> Option<()> {
        match self.ethertype() {
            ETHERTYPE_V4 => self.find_v4(self.link(), layers),
            ETHERTYPE_V6 => self.find_v6(self.link(), layers),
            _ => None,
        }
    }

    /// Finds the headers of an IPv4 packet that begins at an offset.
    #[inline(always)]
    pub(crate) fn find_v4(&self, ip: u32, layers: &mut Layers) -> Option<()> {
        let header: Ipv4Header = self.load(ip)?;
        let length = u32::from(header.version_and_length & 0x0f) * 4;
        if header.version_and_length >> 4 != 4 || length < 20 {
            return None;
        }
        let fragment = u16::from_be(header.fragment);
        layers.is_v4 = true;
        layers.protocol = header.protocol;
        layers.fragment = match (fragment & 0x1fff, fragment & 0x2000) {
            (0, 0) => Fragment::Whole,
            (0, _) => Fragment::First,
            _ => Fragment::Later,
        };
        layers.fragment_id = u32::from(header.id);
        layers.ip = ip;
        layers.transport = ip + length;
        layers.end = ip + u32::from(u16::from_be(header.total_length));
        layers.source = Address::from_v4_word(header.source);
        layers.destination = Address::from_v4_word(header.destination);
        Some(())
    }

    /// Finds the headers of an IPv6 packet that begins at an offset.
    #[inline(always)]
    pub(crate) fn find_v6(&self, ip: u32, layers: &mut Layers) -> Option<()> {
        let header: Ipv6Header = self.load(ip)?;
        if u32::from_be(header.version_and_class) >> 28 != 6 {
            return None;
        }
        layers.is_v4 = false;
        layers.protocol = header.next;
        layers.fragment = Fragment::Whole;
        layers.ip = ip;
        layers.transport = ip + 40;
        layers.end = ip + 40 + u32::from(u16::from_be(header.length));
        layers.source = Address::from_v6_words(header.source);
        layers.destination = Address::from_v6_words(header.destination);
        for _ in 0..MOST_EXTENSIONS {
            if !self.step_over(layers)? {
                break;
            }
        }
        Some(())
    }

    /// Steps over an extension header; false if there is none.
    #[inline(always)]
    fn step_over(&self, layers: &mut Layers) -> Option<bool> {
        match layers.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let [next, length]: [u8; 2] = self.load(layers.transport)?;
                layers.protocol = next;
                layers.transport += (u32::from(length) + 1) * 8;
                Some(true)
            }
            FRAGMENT => {
                let [head, id]: [u32; 2] = self.load(layers.transport)?;
                let head = u32::from_be(head);
                layers.protocol = (head >> 24) as u8;
                layers.transport += 8;
                layers.fragment_id = id;
                layers.fragment = match (head & 0xfff8, head & 1) {
                    (0, 0) => Fragment::Whole,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                Some(layers.fragment != Fragment::Later)
            }
            _ => Some(false),
        }
    }
}

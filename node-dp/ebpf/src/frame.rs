//! A frame as the driver has it: how its headers are read and changed in place. All pointer work of the fast path is here.
//!
//! Only plain frames are looked at: Ethernet without a VLAN's tag, IPv4 without options or IPv6 without extensions, no
//! fragments, and a segment's header behind that. All others are for the programs that come later.

use core::mem::MaybeUninit;

use aya_ebpf::programs::XdpContext;
use node_dp_common::{
    Address, Port, Tuple,
    checksum::{Change, Sum, pseudo_header},
    conntrack::TcpFlags,
    next_hop::EthernetAddress,
};

use crate::layers::{Ipv4Header, Ipv6Header, TCP, TcpHeader, UDP, UdpHeader};

const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();

/// The length of an Ethernet header.
const ETHERNET: u32 = 14;

/// Version 4, five words.
const PLAIN_V4: u8 = 0x45;

/// All of an IPv4 header's field for fragments but "don't fragment", and a bit without a meaning.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

/// The headers of a frame: an IP header `I`, and that of a segment `S`.
#[repr(C)]
pub(crate) struct Frame<I, S> {
    addresses: [EthernetAddress; 2],
    kind: u16,
    ip: I,
    segment: S,
}

/// What a frame says that counts for where it goes.
pub(crate) struct Seen {
    pub(crate) tuple: Tuple,
    pub(crate) protocol: u8,
    /// How it is to be served on the way, as `bpf_fib_lookup` takes it: the first byte for IPv4, or IPv6's traffic class and flow label in network byte order.
    pub(crate) class: u32,
    /// Its bytes from the IP header on.
    pub(crate) length: u16,
    /// The hardware address that it is sent to.
    pub(crate) arrival: EthernetAddress,
}

/// What the fast path makes of a packet.
pub(crate) struct Turn {
    pub(crate) tuple: Tuple,
    pub(crate) device: u32,
    pub(crate) addresses: [EthernetAddress; 2],
}

/// Does something with each plain frame that carries a segment; `None` for others.
pub(crate) trait Visitor {
    fn visit<I: Ip, S: Segment>(self, frame: &mut Frame<I, S>, room: u32) -> Option<u32>;
}

/// Finds the headers of the frame.
#[inline(always)]
pub(crate) fn visit(context: &XdpContext, visitor: impl Visitor) -> Option<u32> {
    let (begin, end) = (context.data(), context.data_end());
    let room = (end - begin) as u32;
    // Every frame is at least as long as this one, as a link pads short ones.
    let least: &mut Frame<Ipv4Header, UdpHeader> = at(begin, end)?;
    match (least.kind, least.ip.protocol) {
        (IPV4, UDP) => visitor.visit(least, room),
        (IPV4, TCP) => visitor.visit(at::<Frame<Ipv4Header, TcpHeader>>(begin, end)?, room),
        (IPV6, _) => {
            let frame: &mut Frame<Ipv6Header, UdpHeader> = at(begin, end)?;
            match frame.ip.next {
                UDP => visitor.visit(frame, room),
                TCP => visitor.visit(at::<Frame<Ipv6Header, TcpHeader>>(begin, end)?, room),
                _ => None,
            }
        }
        _ => None,
    }
}

#[inline(always)]
fn at<'a, T>(begin: usize, end: usize) -> Option<&'a mut T> {
    if begin + size_of::<T>() > end {
        return None;
    }
    // SAFETY: the frame has so many bytes, which are this program's alone while it runs; any bytes are a valid header, and
    // drivers let frames begin at even addresses.
    Some(unsafe { &mut *(begin as *mut T) })
}

impl<I: Ip, S: Segment> Frame<I, S> {
    /// Reads what it says; false if it is not plain, is cut short, has no hop left, or begins or ends a connection.
    ///
    /// In a frame of its own, as turning is: what they compute with must not lie on the stack below the questions in between.
    #[inline(never)]
    pub(crate) fn see(&self, room: u32, seen: &mut MaybeUninit<Seen>) -> bool {
        let length = self.ip.length();
        let headers = (size_of::<I>() + size_of::<S>()) as u32;
        let is_whole = length >= headers && length + ETHERNET <= room && length <= 0xffff;
        if !is_whole || !self.ip.is_plain() || self.ip.hops() <= 1 {
            return false;
        }
        if !self.segment.flags().is_between() {
            return false;
        }
        let (source, destination) = self.ip.addresses();
        let (source_port, destination_port) = self.segment.ports();
        let seen = seen.write(Seen {
            tuple: Tuple {
                source,
                destination,
                source_port: Port::from_network(source_port),
                destination_port: Port::from_network(destination_port),
            },
            protocol: S::PROTOCOL,
            class: self.ip.class(),
            length: length as u16,
            arrival: self.addresses[0],
        });
        // A checksum that the sender leaves to its device holds the pseudo header's sum. Only the kernel can have it
        // computed: it comes so from a neighbour on the same machine.
        let segment_length = (length - size_of::<I>() as u32) as u16;
        let unfinished = pseudo_header(&seen.tuple, segment_length, S::PROTOCOL).fold();
        self.segment.checksum() != unfinished
    }

    /// Turns it: addresses, ports and all checksums; and it has one hop less to go.
    #[inline(never)]
    pub(crate) fn turn(&mut self, old: &Tuple, turn: &Turn) {
        let change = Change::between(old, &turn.tuple);
        self.segment.set_ports(&turn.tuple);
        self.segment.mend(change.addresses.plus(change.ports));
        self.ip.set_addresses(&turn.tuple, change.addresses);
        self.addresses = turn.addresses;
    }
}

/// An IP header in place.
pub(crate) trait Ip {
    /// Whether it is as long as its type, and the packet no fragment.
    fn is_plain(&self) -> bool;
    /// The packet's bytes from here on.
    fn length(&self) -> u32;
    fn hops(&self) -> u8;
    fn class(&self) -> u32;
    fn addresses(&self) -> (Address, Address);
    /// Sets the addresses, by which its sum changes so, and takes one hop off.
    fn set_addresses(&mut self, new: &Tuple, change: Sum);
}

impl Ip for Ipv4Header {
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.version_and_length == PLAIN_V4 && self.fragment & FRAGMENT == 0
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        u32::from(u16::from_be(self.total_length))
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.hops
    }

    #[inline(always)]
    fn class(&self) -> u32 {
        u32::from_ne_bytes([self.class, 0, 0, 0])
    }

    #[inline(always)]
    fn addresses(&self) -> (Address, Address) {
        let (source, destination) = (self.source, self.destination);
        (
            Address::from_v4_word(source),
            Address::from_v4_word(destination),
        )
    }

    #[inline(always)]
    fn set_addresses(&mut self, new: &Tuple, change: Sum) {
        self.source = new.source.to_words()[3];
        self.destination = new.destination.to_words()[3];
        self.hops -= 1;
        self.checksum = change.plus(Sum::of_hop()).applied_to(self.checksum);
    }
}

impl Ip for Ipv6Header {
    #[inline(always)]
    fn is_plain(&self) -> bool {
        u32::from_be(self.version_and_class) >> 28 == 6
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        size_of::<Self>() as u32 + u32::from(u16::from_be(self.length))
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.hops
    }

    #[inline(always)]
    fn class(&self) -> u32 {
        self.version_and_class & 0x0fff_ffff_u32.to_be()
    }

    #[inline(always)]
    fn addresses(&self) -> (Address, Address) {
        let (source, destination) = (self.source, self.destination);
        (
            Address::from_v6_words(source),
            Address::from_v6_words(destination),
        )
    }

    #[inline(always)]
    fn set_addresses(&mut self, new: &Tuple, _: Sum) {
        self.source = new.source.to_words();
        self.destination = new.destination.to_words();
        self.hops -= 1;
    }
}

/// A segment's header in place.
pub(crate) trait Segment {
    /// Its protocol's number.
    const PROTOCOL: u8;

    /// Its flags; none for a datagram.
    fn flags(&self) -> TcpFlags;
    /// The ports in network byte order.
    fn ports(&self) -> (u16, u16);
    fn set_ports(&mut self, new: &Tuple);
    fn checksum(&self) -> u16;
    /// Mends the checksum by a change of what it covers.
    fn mend(&mut self, change: Sum);
}

impl Segment for TcpHeader {
    const PROTOCOL: u8 = TCP;

    #[inline(always)]
    fn flags(&self) -> TcpFlags {
        TcpFlags(self.flags)
    }

    #[inline(always)]
    fn ports(&self) -> (u16, u16) {
        (self.source, self.destination)
    }

    #[inline(always)]
    fn set_ports(&mut self, new: &Tuple) {
        self.source = new.source_port.to_network();
        self.destination = new.destination_port.to_network();
    }

    #[inline(always)]
    fn checksum(&self) -> u16 {
        self.checksum
    }

    #[inline(always)]
    fn mend(&mut self, change: Sum) {
        self.checksum = change.applied_to(self.checksum);
    }
}

impl Segment for UdpHeader {
    const PROTOCOL: u8 = UDP;

    #[inline(always)]
    fn flags(&self) -> TcpFlags {
        TcpFlags::NONE
    }

    #[inline(always)]
    fn ports(&self) -> (u16, u16) {
        (self.source, self.destination)
    }

    #[inline(always)]
    fn set_ports(&mut self, new: &Tuple) {
        self.source = new.source_port.to_network();
        self.destination = new.destination_port.to_network();
    }

    #[inline(always)]
    fn checksum(&self) -> u16 {
        self.checksum
    }

    #[inline(always)]
    fn mend(&mut self, change: Sum) {
        // Zero is none, and stays so; a sum of zero is sent as its other form (RFC 768).
        if self.checksum == 0 {
            return;
        }
        self.checksum = match change.applied_to(self.checksum) {
            0 => 0xffff,
            sum => sum,
        };
    }
}

//! A packet: how it is read and changed. All pointer work is here.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::{
        bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect, bpf_skb_adjust_room,
        bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use node_dp_common::{DropReason, Port, Tuple, checksum::Sum};

use crate::layers::{Layers, UDP};

/// A packet at a hook of a device.
pub(crate) struct Packet {
    skb: *mut __sk_buff,
    /// How many bytes of link header come before the IP header.
    link: u32,
}

impl Packet {
    #[inline(always)]
    pub(crate) fn new(context: &TcContext, link: u32) -> Self {
        Self {
            skb: context.skb.skb,
            link,
        }
    }

    /// How many bytes of link header there are.
    #[inline(always)]
    pub(crate) fn link(&self) -> u32 {
        self.link
    }

    /// The protocol of the packet behind the link header, in network byte order.
    #[inline(always)]
    pub(crate) fn ethertype(&self) -> u32 {
        // SAFETY: the kernel hands a valid context to the program, and the field is readable.
        unsafe { (*self.skb).protocol }
    }

    /// The ports at the head of a segment.
    #[inline(always)]
    pub(crate) fn ports(&self, transport: u32) -> Option<(Port, Port)> {
        let [source, destination]: [u16; 2] = self.load(transport)?;
        Some((Port::from_network(source), Port::from_network(destination)))
    }

    /// Reads a value; `None` if the packet ends before it.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(&self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes as many bytes as the value has, or fails.
        let result = unsafe {
            bpf_skb_load_bytes(
                self.skb.cast(),
                offset,
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
            )
        };
        // SAFETY: it has been written, and is made of integers.
        (result == 0).then(|| unsafe { value.assume_init() })
    }

    /// Writes a value whose change no checksum of the link covers, or is made up for within what it covers.
    #[inline(always)]
    pub(crate) fn store<T>(&self, offset: u32, value: &T) -> Result<(), DropReason> {
        self.store_with(offset, value, 0)
    }

    #[inline(always)]
    fn store_with<T>(&self, offset: u32, value: &T, flags: u32) -> Result<(), DropReason> {
        // SAFETY: the helper reads as many bytes as the value has; all values here are without padding.
        let result = unsafe {
            bpf_skb_store_bytes(
                self.skb,
                offset,
                core::ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
                u64::from(flags),
            )
        };
        done(result)
    }

    /// Sets the addresses of an IP header, and mends its own checksum.
    ///
    /// `is_covered` says that a checksum in the packet changes with them (a pseudo header's). For IPv6 the kernel must then
    /// be told twice: it takes the change of that checksum for one of the sum over the packet, as it is for IPv4, whose
    /// header has a sum of its own.
    #[inline(always)]
    pub(crate) fn set_addresses(
        &self,
        layers: &Layers,
        new: &Tuple,
        change: Sum,
        is_covered: bool,
    ) -> Result<(), DropReason> {
        if !layers.is_v4 {
            let flags = if is_covered { BPF_F_RECOMPUTE_CSUM } else { 0 };
            let addresses = [new.source, new.destination];
            return self.store_with(layers.ip + 8, &addresses, flags as u32);
        }
        let addresses = [new.source.to_words()[3], new.destination.to_words()[3]];
        self.store(layers.ip + 12, &addresses)?;
        self.mend_ip(layers.ip, change)
    }

    /// Sets the ports of a segment.
    #[inline(always)]
    pub(crate) fn set_ports(&self, transport: u32, new: &Tuple) -> Result<(), DropReason> {
        let ports = [
            new.source_port.to_network(),
            new.destination_port.to_network(),
        ];
        self.store(transport, &ports)
    }

    /// Mends the checksum of an IPv4 header at an offset.
    #[inline(always)]
    pub(crate) fn mend_ip(&self, ip: u32, change: Sum) -> Result<(), DropReason> {
        let change = u64::from(change.fold_to_word());
        // SAFETY: the helper checks the offset against the packet.
        done(unsafe { bpf_l3_csum_replace(self.skb, ip + 10, 0, change, 0) })
    }

    /// Mends a checksum by a change within what it covers.
    #[inline(always)]
    pub(crate) fn mend(&self, checksum: Checksum, change: Sum) -> Result<(), DropReason> {
        self.mend_with(checksum, change, 0)
    }

    /// Mends a checksum by a change of the pseudo header.
    #[inline(always)]
    pub(crate) fn mend_pseudo(&self, checksum: Checksum, change: Sum) -> Result<(), DropReason> {
        self.mend_with(checksum, change, BPF_F_PSEUDO_HDR as u32)
    }

    #[inline(always)]
    fn mend_with(&self, checksum: Checksum, change: Sum, flags: u32) -> Result<(), DropReason> {
        // A UDP checksum of zero is none, and stays so.
        let mangled = if checksum.is_udp {
            BPF_F_MARK_MANGLED_0 as u32
        } else {
            0
        };
        let change = u64::from(change.fold_to_word());
        // SAFETY: the helper checks the offset against the packet.
        done(unsafe {
            bpf_l4_csum_replace(
                self.skb,
                checksum.offset,
                0,
                change,
                u64::from(flags | mangled),
            )
        })
    }

    /// Whether the checksum of a segment is still to be computed by whoever sends it: it then holds the pseudo header's sum.
    ///
    /// The kernel does not say so, but lets such a checksum alone when something it covers changes. Spoils the checksum.
    #[inline(always)]
    pub(crate) fn is_unfinished(&self, offset: u32) -> Option<bool> {
        let before: u16 = self.load(offset)?;
        let checksum = Checksum {
            offset,
            is_udp: false,
        };
        self.mend(checksum, Sum::ZERO.plus_half(1)).ok()?;
        let after: u16 = self.load(offset)?;
        Some(before == after)
    }

    /// Cuts the packet off behind a number of bytes.
    #[inline(always)]
    pub(crate) fn cut(&self, length: u32) -> Result<(), DropReason> {
        // SAFETY: the helper refuses a length that it cannot give.
        done(unsafe { bpf_skb_change_tail(self.skb, length, 0) })
    }

    /// Makes room for so many bytes between the link header and the IP header.
    #[inline(always)]
    pub(crate) fn make_room(&self, bytes: i32) -> Result<(), DropReason> {
        // SAFETY: the helper refuses a length that it cannot give.
        done(unsafe { bpf_skb_adjust_room(self.skb, bytes, BPF_ADJ_ROOM_MAC, 0) })
    }

    /// Turns the link header round: the packet goes to where it came from.
    #[inline(always)]
    pub(crate) fn turn_link(&self) -> Result<(), DropReason> {
        if self.link == 0 {
            return Ok(());
        }
        let [to, from]: [[u16; 3]; 2] = self.load(0).ok_or(DropReason::NotRewritable)?;
        self.store(0, &[from, to])
    }

    /// Sends the packet out of the device it came in by; returns what the program must return.
    #[inline(always)]
    pub(crate) fn send_back(&self) -> i32 {
        // SAFETY: the field is readable, and the helper takes numbers.
        unsafe { bpf_redirect((*self.skb).ifindex, 0) as i32 }
    }
}

/// A checksum of a transport header.
#[derive(Clone, Copy)]
pub(crate) struct Checksum {
    /// Where it is.
    pub(crate) offset: u32,
    /// Whether zero means that there is none.
    pub(crate) is_udp: bool,
}

impl Checksum {
    /// That of a TCP or UDP segment.
    #[inline(always)]
    pub(crate) fn of_segment(layers: &Layers) -> Self {
        let is_udp = layers.protocol == UDP;
        Self {
            offset: layers.transport + if is_udp { 6 } else { 16 },
            is_udp,
        }
    }

    /// That of an ICMP message of either family.
    #[inline(always)]
    pub(crate) fn of_icmp(layers: &Layers) -> Self {
        Self {
            offset: layers.transport + 2,
            is_udp: false,
        }
    }
}

#[inline(always)]
fn done(result: i64) -> Result<(), DropReason> {
    if result == 0 {
        return Ok(());
    }
    Err(DropReason::NotRewritable)
}

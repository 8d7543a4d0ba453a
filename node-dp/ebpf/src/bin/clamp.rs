//! The program on a tunnel device: both ends of a TCP connection hear of segments no larger than what fits the tunnel.
//!
//! It is a program, and an object file, of its own as it needs none of the others' maps, and a tunnel may be without them. Built
//! for the BPF target by the agent's build script; on the host it is empty.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use core::mem::MaybeUninit;

    use aya_ebpf::{
        bindings::{__sk_buff, TC_ACT_UNSPEC},
        btf_maps::Array,
        helpers::{bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes},
        macros::{btf_map, classifier},
        programs::TcContext,
    };

    /// The device's MTU, in bytes; the agent keeps it true.
    #[btf_map]
    static TUNNEL_MTU: Array<u32, 1> = Array::new();

    const ETHERTYPE_V4: u32 = 0x0800_u16.to_be() as u32;
    const ETHERTYPE_V6: u32 = 0x86dd_u16.to_be() as u32;
    const TCP: u8 = 6;
    const SYN: u8 = 0x02;

    /// Where the checksum is in a TCP header, and where options begin.
    const CHECKSUM: u32 = 16;
    const OPTIONS: u32 = 20;

    /// The kinds of options that matter: the end, one byte of nothing, and the largest segment.
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const LARGEST_SEGMENT: u8 = 2;

    /// How many options are looked at: known systems say the largest segment first, and the verifier follows every way that
    /// there is through so many.
    const MOST_OPTIONS: usize = 8;

    #[classifier]
    fn isthmus_clamp(context: TcContext) -> i32 {
        // What is no whole SYN with an option for the largest segment is none of its business.
        let _: Option<()> = clamp(&Packet(context.skb.skb));
        // The next program on the device decides, or else the packet goes on.
        TC_ACT_UNSPEC
    }

    struct Packet(*mut __sk_buff);

    impl Packet {
        /// Reads a value; `None` if the packet ends before it.
        #[inline(always)]
        fn load<T: Copy>(&self, offset: u32) -> Option<T> {
            let mut value = MaybeUninit::<T>::uninit();
            let (to, size) = (value.as_mut_ptr().cast(), size_of::<T>() as u32);
            // SAFETY: the helper writes as many bytes as the value has, or fails.
            let result = unsafe { bpf_skb_load_bytes(self.0.cast(), offset, to, size) };
            // SAFETY: it has been written, and is made of integers.
            (result == 0).then(|| unsafe { value.assume_init() })
        }

        /// The protocol of the packet, in network byte order.
        #[inline(always)]
        fn ethertype(&self) -> u32 {
            // SAFETY: the kernel hands a valid context to the program, and the field is readable.
            unsafe { (*self.0).protocol }
        }

        /// Writes two bytes in place of others, and mends the checksum.
        #[inline(always)]
        fn replace(&self, (offset, checksum): (u32, u32), old: u16, new: u16) {
            // A value at an odd place of the header counts with its bytes the other way round (RFC 1071).
            let (from, to) = if (offset - checksum) % 2 == 0 {
                (old, new)
            } else {
                (old.swap_bytes(), new.swap_bytes())
            };
            let (from, to) = (u64::from(from), u64::from(to));
            // SAFETY: the helper checks the offset against the packet.
            let result = unsafe { bpf_l4_csum_replace(self.0, checksum, from, to, 2) };
            if result == 0 {
                let bytes = core::ptr::from_ref(&new).cast();
                // SAFETY: the helper reads two bytes, which is what the value has.
                unsafe { bpf_skb_store_bytes(self.0, offset, bytes, 2, 0) };
            }
        }
    }

    #[inline(always)]
    fn clamp(packet: &Packet) -> Option<()> {
        let (tcp, headers) = tcp_of(packet)?;
        let [words, flags]: [u8; 2] = packet.load(tcp + 12)?;
        if flags & SYN == 0 {
            return None;
        }
        let largest = TUNNEL_MTU.get(0)?.checked_sub(headers)?;
        let end = tcp + u32::from(words >> 4) * 4;
        let (offset, old) = find_option(packet, tcp + OPTIONS, end)?;
        if u32::from(u16::from_be(old)) > largest {
            packet.replace((offset, tcp + CHECKSUM), old, (largest as u16).to_be());
        }
        Some(())
    }

    /// Where the TCP header is, and how many bytes a segment has besides its payload; `None` for what has none at its head.
    #[inline(always)]
    fn tcp_of(packet: &Packet) -> Option<(u32, u32)> {
        match packet.ethertype() {
            ETHERTYPE_V4 => {
                let head: [u8; 10] = packet.load(0)?;
                let is_later = u16::from_be_bytes([head[6], head[7]]) & 0x1fff != 0;
                let is_tcp = head[9] == TCP && !is_later;
                is_tcp.then_some((u32::from(head[0] & 0x0f) * 4, 40))
            }
            ETHERTYPE_V6 => {
                let next: u8 = packet.load(6)?;
                (next == TCP).then_some((40, 60))
            }
            _ => None,
        }
    }

    /// Where the largest segment stands, and what it is, in network byte order.
    #[inline(always)]
    fn find_option(packet: &Packet, begin: u32, end: u32) -> Option<(u32, u16)> {
        let mut offset = begin;
        for _ in 0..MOST_OPTIONS {
            if offset + 4 > end {
                return None;
            }
            let [kind, length]: [u8; 2] = packet.load(offset)?;
            match kind {
                END => return None,
                NOTHING => offset += 1,
                LARGEST_SEGMENT => return Some((offset + 2, packet.load(offset + 2)?)),
                _ if length < 2 => return None,
                _ => offset += u32::from(length),
            }
        }
        None
    }
}

/// Some helper functions are only for programs under a licence compatible with the GPL.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

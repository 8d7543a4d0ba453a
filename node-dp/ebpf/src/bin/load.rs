//! Programs for measuring how many packets a node forwards: one makes them, one counts those that arrive.
//!
//! They are an object file of their own, which no agent carries. Built for the BPF target by the agent's build script; on the
//! host it is empty.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{
        bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
        btf_maps::{Array, PerCpuArray},
        helpers::bpf_redirect,
        macros::{btf_map, xdp},
        programs::XdpContext,
    };
    use node_dp_common::{
        Tuple,
        checksum::{Change, Sum},
        load::{Plan, SEGMENT},
    };

    /// What is sent.
    #[btf_map]
    static PLAN: Array<Plan, 1> = Array::new();

    /// How many packets this CPU has made, and how many have arrived at it.
    #[btf_map]
    static MADE: PerCpuArray<u32, 1> = PerCpuArray::new();
    #[btf_map]
    static ARRIVED: PerCpuArray<u64, 1> = PerCpuArray::new();

    /// Where the checksums are, and what leads to them: an Ethernet header, then IPv4's, in half words.
    const IP_CHECKSUM: usize = 12;
    const TCP_CHECKSUM: usize = 25;

    /// A frame without a payload, in half words, as frames begin at even addresses only.
    type Frame = [u16; SEGMENT];

    /// Makes a packet of the next flow. Frames come back with what others have made of them, so all of it is written anew.
    #[xdp]
    fn isthmus_generate(context: XdpContext) -> u32 {
        let Some(frame) = frame(&context) else {
            return XDP_ABORTED;
        };
        let (Some(plan), Some(made)) = (PLAN.get(0), MADE.get_ptr_mut(0)) else {
            return XDP_ABORTED;
        };
        // SAFETY: the slot is this CPU's, and no other program uses it.
        let number = unsafe {
            *made = (*made).wrapping_add(1);
            *made % plan.flows.max(1)
        };
        for (half, template) in frame.iter_mut().zip(&plan.template) {
            *half = *template;
        }
        let new = plan.tuple(number);
        let change = Change::between(&plan.first, &new);
        set(frame, &new, change);
        // SAFETY: the helper takes numbers.
        unsafe { bpf_redirect(plan.device, 0) as u32 }
    }

    #[inline(always)]
    fn set(frame: &mut Frame, new: &Tuple, change: Change) {
        let source = new.source.to_words()[3];
        let [high, low] = halves(source);
        frame[13] = high;
        frame[14] = low;
        frame[17] = new.source_port.to_network();
        frame[IP_CHECKSUM] = change.addresses.applied_to(frame[IP_CHECKSUM]);
        let both: Sum = change.addresses.plus(change.ports);
        frame[TCP_CHECKSUM] = both.applied_to(frame[TCP_CHECKSUM]);
    }

    /// A word's two halves, in their order in memory.
    #[inline(always)]
    fn halves(word: u32) -> [u16; 2] {
        let [a, b, c, d] = word.to_ne_bytes();
        [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
    }

    /// Counts TCP over IPv4 and drops it; lets what keeps the link going pass.
    #[xdp]
    fn isthmus_sink(context: XdpContext) -> u32 {
        let Some(frame) = frame(&context) else {
            return XDP_PASS;
        };
        let is_tcp = frame[11].to_ne_bytes()[1] == 6;
        if frame[6] != 0x0800_u16.to_be() || !is_tcp {
            return XDP_PASS;
        }
        if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
            // SAFETY: the slot is this CPU's, and no other program uses it.
            unsafe { *arrived += 1 };
        }
        XDP_DROP
    }

    #[inline(always)]
    fn frame(context: &XdpContext) -> Option<&mut Frame> {
        let begin = context.data();
        if begin + size_of::<Frame>() > context.data_end() {
            return None;
        }
        // SAFETY: the frame has so many bytes, which are this program's alone while it runs, and begins at an even address.
        Some(unsafe { &mut *(begin as *mut Frame) })
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

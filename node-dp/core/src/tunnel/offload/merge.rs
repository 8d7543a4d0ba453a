//! Merges packets that follow each other in a flow into super-packets for the kernel.
//!
//! Only what can be cut into the same packets again is merged: the headers of the parts differ in nothing but what a cut
//! makes anew. All else passes as it is. Packets of one flow keep their order; flows may pass each other.

use std::collections::BTreeMap;

use super::{
    candidate::{Candidate, FlowKey},
    checksum::Sum,
    packet::write,
    vnet::{Gso, GsoKind, PartialChecksum, VnetHeader},
};

/// The most that the length field of an IP packet can say.
const MAX_BYTES: usize = 65_535;

/// The most datagrams in a UDP super-packet that the kernel takes (`UDP_MAX_SEGMENTS` of older kernels).
const MAX_DATAGRAMS: usize = 64;

/// Where a TCP checksum stands in its header.
const TCP_CHECKSUM: usize = 16;
/// Where a UDP checksum stands in its header.
const UDP_CHECKSUM: usize = 6;

/// Packets on their way to the kernel; `P` is a buffer that holds one.
#[derive(Debug)]
pub struct Merger<P> {
    merges_udp: bool,
    runs: Vec<Run<P>>,
    /// The run that the next packet of a flow may join.
    open: BTreeMap<FlowKey, usize>,
    /// The flow of the packet before, which most often is the next one's too.
    latest: Option<(FlowKey, usize)>,
}

/// What the kernel is given at once: one packet, or several as a super-packet.
#[derive(Debug, PartialEq, Eq)]
pub struct SuperPacket<P> {
    /// What stands before it.
    pub vnet: VnetHeader,
    first: P,
    rest: Vec<P>,
    /// Bytes of headers, which are left off all but the first.
    headers_len: usize,
}

#[derive(Debug)]
struct Run<P> {
    first: P,
    rest: Vec<P>,
    /// What the first packet is; `None` for one that is never merged.
    candidate: Option<Candidate>,
    /// The last packet that joined.
    last: Option<Candidate>,
    bytes: usize,
    is_verified: bool,
}

impl<P: AsRef<[u8]> + AsMut<[u8]>> Merger<P> {
    /// Merges TCP, and UDP if the kernel knows super-packets of that.
    pub fn new(merges_udp: bool) -> Self {
        Self {
            merges_udp,
            runs: Vec::new(),
            open: BTreeMap::new(),
            latest: None,
        }
    }

    /// Whether there is nothing to give out.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Takes a packet, cut to its length.
    pub fn push(&mut self, packet: P) {
        let candidate = Candidate::read(packet.as_ref()).filter(|candidate| {
            self.merges_udp || candidate.kind != GsoKind::Udp || !candidate.is_mergeable
        });
        let Some(candidate) = candidate else {
            self.runs.push(Run::new(packet, None));
            return;
        };
        let key = candidate.key;
        let run = match self.latest {
            Some((latest, run)) if latest == key => Some(run),
            Some(_) | None => self.open.get(&key).copied(),
        };
        let run = run.and_then(|index| Some((index, self.runs.get_mut(index)?)));
        let packet = match run {
            Some((index, run)) => match run.join(packet, &candidate) {
                Ok(()) => {
                    self.latest = Some((key, index));
                    return;
                }
                Err(packet) => packet,
            },
            None => packet,
        };
        // Even one that is never merged opens a run, which nothing can join: what follows must not overtake it.
        let index = self.runs.len();
        self.runs.push(Run::new(packet, Some(candidate)));
        self.open.insert(key, index);
        self.latest = Some((key, index));
    }

    /// Gives out all packets, in the order of their first parts.
    pub fn drain(&mut self) -> impl Iterator<Item = SuperPacket<P>> {
        self.open.clear();
        self.latest = None;
        self.runs.drain(..).map(Run::finish)
    }
}

impl<P: AsRef<[u8]>> SuperPacket<P> {
    /// The bytes after the header, in pieces.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let rest = self
            .rest
            .iter()
            .map(|packet| packet.as_ref().get(self.headers_len..).unwrap_or_default());
        std::iter::once(self.first.as_ref()).chain(rest)
    }

    /// How many packets it stands for.
    pub fn parts(&self) -> usize {
        1 + self.rest.len()
    }
}

impl<P: AsRef<[u8]> + AsMut<[u8]>> Run<P> {
    fn new(first: P, candidate: Option<Candidate>) -> Self {
        Self {
            bytes: first.as_ref().len(),
            first,
            rest: Vec::new(),
            candidate,
            last: candidate,
            is_verified: false,
        }
    }

    /// Adds a packet, or gives it back if it cannot follow.
    fn join(&mut self, packet: P, next: &Candidate) -> Result<(), P> {
        let (Some(first), Some(last)) = (self.candidate, self.last) else {
            return Err(packet);
        };
        let is_following = first.is_mergeable
            && next.is_mergeable
            && next.follows(packet.as_ref(), &last, &first, self.first.as_ref());
        let has_room = self.bytes + next.payload_len <= MAX_BYTES
            && (first.kind != GsoKind::Udp || self.rest.len() + 2 <= MAX_DATAGRAMS);
        if !is_following || !has_room {
            return Err(packet);
        }
        if !self.is_verified {
            if !first.is_whole(self.first.as_ref()) {
                self.candidate = None;
                return Err(packet);
            }
            self.is_verified = true;
        }
        if !next.is_whole(packet.as_ref()) {
            return Err(packet);
        }
        self.bytes += next.payload_len;
        self.rest.push(packet);
        self.last = Some(*next);
        Ok(())
    }

    fn finish(mut self) -> SuperPacket<P> {
        let vnet = match (self.candidate, self.last) {
            (Some(first), Some(last)) if !self.rest.is_empty() => {
                write_headers(self.first.as_mut(), &first, &last, self.bytes)
            }
            _ => VnetHeader::default(),
        };
        SuperPacket {
            headers_len: self.candidate.map_or(0, |first| first.headers_len()),
            vnet,
            first: self.first,
            rest: self.rest,
        }
    }
}

/// Makes the first packet's headers the super-packet's.
fn write_headers(
    packet: &mut [u8],
    first: &Candidate,
    last: &Candidate,
    bytes: usize,
) -> VnetHeader {
    let length = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
    let transport_len = length(bytes - first.ip_len);
    if first.is_ipv4() {
        write(packet, 2, length(bytes).to_be_bytes());
        write(packet, 10, [0, 0]);
        let header = packet.get(..first.ip_len).unwrap_or_default();
        let checksum = Sum::default().bytes(header).checksum();
        write(packet, 10, checksum);
    } else {
        write(packet, 4, transport_len.to_be_bytes());
    }
    let partial = first.pseudo(packet, transport_len).partial();
    let transport = packet.get_mut(first.ip_len..).unwrap_or_default();
    let offset = match first.kind {
        GsoKind::Tcp4 | GsoKind::Tcp6 => {
            write(transport, 13, [last.tcp_flags]);
            TCP_CHECKSUM
        }
        GsoKind::Udp => {
            write(transport, 4, transport_len.to_be_bytes());
            UDP_CHECKSUM
        }
    };
    write(transport, offset, partial);
    VnetHeader {
        gso: Some(Gso {
            kind: first.kind,
            size: length(first.payload_len),
        }),
        checksum: Some(PartialChecksum {
            start: length(first.ip_len),
            offset: length(offset),
        }),
        headers_len: length(first.headers_len()),
    }
}

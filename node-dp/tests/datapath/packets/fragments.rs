//! Datagrams in fragments: the later ones, which have no ports, follow the first.

use etherparse::{IpFragOffset, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, ip_number};
use node_dp_common::Hook::{Egress, Ingress};

use super::{
    bench::{Bench, Outcome::Passed},
    packet::{Packet, udp},
};
use crate::fixture::{Service, UDP, address};

const ID: u32 = 4711;

/// Where the second fragment begins.
const CUT: usize = 16;

#[test]
#[ignore = "needs root"]
fn later_fragments_follow_the_first_there_and_back() {
    for (client, frontend, backend) in [
        ("198.51.100.9:40000", "203.0.113.5:53", "10.1.0.1:5353"),
        ("[fd51::9]:40000", "[fd03::5]:53", "[fd00:1::1]:5353"),
    ] {
        let dialled = udp(client, frontend);
        let routed = dialled.between(dialled.from, address(backend));
        let service = Service::new(1, frontend, UDP).group(0, 0, &[address(backend)]);
        Bench::run(&[service.external().local()], |bench| {
            for (before, after) in fragments(dialled).into_iter().zip(fragments(routed)) {
                assert_eq!(bench.pass(Ingress, &before), Passed(after));
            }
            let back = fragments(routed.reply()).into_iter();
            for (before, after) in back.zip(fragments(dialled.reply())) {
                assert_eq!(bench.pass(Egress, &before), Passed(after));
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_later_fragment_without_its_first_passes_unchanged() {
    let dialled = udp("198.51.100.9:40000", "203.0.113.5:53");
    let service = Service::new(1, "203.0.113.5:53", UDP).group(0, 0, &[address("10.1.0.1:5353")]);
    Bench::run(&[service.external().local()], |bench| {
        let [_, later] = fragments(dialled);

        assert_eq!(bench.pass(Ingress, &later), Passed(later.clone()));
    });
}

/// A datagram in two fragments.
fn fragments(packet: Packet) -> [Vec<u8>; 2] {
    let whole = packet.bytes();
    let (link, ip) = whole.split_at(14);
    [(0, true), (CUT, false)].map(|(offset, more)| {
        let mut bytes = link.to_vec();
        let at = IpFragOffset::try_new(u16::try_from(offset / 8).unwrap()).unwrap();
        if packet.to.is_ipv4() {
            let (mut header, segment) = Ipv4Header::from_slice(ip).unwrap();
            let part = part(segment, offset);
            header.identification = u16::try_from(ID).unwrap();
            header.dont_fragment = false;
            header.more_fragments = more;
            header.fragment_offset = at;
            header.set_payload_len(part.len()).unwrap();
            header.write(&mut bytes).unwrap();
            bytes.extend(part);
        } else {
            let (mut header, segment) = Ipv6Header::from_slice(ip).unwrap();
            let part = part(segment, offset);
            header.next_header = ip_number::IPV6_FRAGMENTATION_HEADER;
            header.set_payload_length(part.len() + 8).unwrap();
            header.write(&mut bytes).unwrap();
            let fragment = Ipv6FragmentHeader::new(ip_number::UDP, at, more, ID);
            fragment.write(&mut bytes).unwrap();
            bytes.extend(part);
        }
        bytes
    })
}

fn part(segment: &[u8], offset: usize) -> &[u8] {
    if offset == 0 {
        &segment[..CUT]
    } else {
        &segment[CUT..]
    }
}

//! Single packets through the fast path: which it forwards, with every byte as it leaves the node, and which it leaves alone.

use node_dp::datapath::Datapath;
use node_dp_common::{DeviceValue, Hook::Ingress, conntrack::TcpFlags, next_hop::is_turn};

use super::{
    packet::{HERE, HOPS, tcp},
    track::{
        BACKEND_V4, BACKEND_V6, Established, MTU, Met, NEXT_TO_BACKENDS, NEXT_TO_CLIENTS, Track,
        context, flow, flows,
    },
};
use crate::{
    fixture::{UDP, ip},
    wait::eventually,
};

// The packets of these tests come with more hops than the one that the node takes.
const _: () = assert!(HOPS > 2);

#[test]
#[ignore = "needs root"]
fn packets_of_a_flow_under_way_are_forwarded_there_and_back() {
    for (flow, service) in flows() {
        Track::run(&[service], |track| {
            track.establish(&flow);
            let forwarded = track.bench.datapath.forwarded().unwrap();

            let there = track.sent(flow.wire, NEXT_TO_BACKENDS);
            assert_eq!(track.meet(&flow.dialled.bytes()), Met::Forwarded(there));
            let back = track.sent(flow.dialled.reply(), NEXT_TO_CLIENTS);
            assert_eq!(track.meet(&flow.wire.reply().bytes()), Met::Forwarded(back));
            let now = track.bench.datapath.forwarded().unwrap();
            assert_eq!(now - forwarded, 2);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_backend_that_sees_the_client_itself_is_reached_too() {
    for (flow, service) in flows() {
        Track::run(&[service.local()], |track| {
            let backend = flow.wire.to;
            let routed = flow.dialled.between(flow.dialled.from, backend);
            track.establish(&Established {
                routed,
                wire: routed,
                ..flow
            });

            let there = track.sent(routed, NEXT_TO_BACKENDS);
            assert_eq!(track.meet(&flow.dialled.bytes()), Met::Forwarded(there));
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_packet_that_leaves_by_its_own_device_is_sent_back() {
    for (flow, service) in flows() {
        Track::run(&[service], |track| {
            track.establish(&flow);
            let index = nix::net::if_::if_nametoindex("out0").unwrap();
            let bytes = flow.dialled.bytes();
            let context = context(&bytes, index);
            if !track.can_choose_device(&bytes, &context) {
                eprintln!(
                    "skipped: the kernel (before 5.14) has no device to choose in a test run"
                );
                return;
            }
            track.serve(index, DeviceValue::new(HERE).returning());

            // The second, where the first is the kernel's.
            track.meet_once(&bytes, Some(&context));
            let met = track.meet_once(&bytes, Some(&context));
            assert_eq!(met, Met::Returned(track.sent(flow.wire, NEXT_TO_BACKENDS)));

            // What cannot send back leaves packets to the kernel, as soon as it is known.
            track.serve(index, DeviceValue::new(HERE));
            eventually("the device sends nothing back", || {
                track.meet_once(&bytes, Some(&context)) == Met::Left
            });
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_flow_whose_ends_have_not_both_spoken_is_left_to_the_kernel() {
    for (flow, service) in flows() {
        Track::run(&[service], |track| {
            assert_eq!(track.meet(&flow.dialled.bytes()), Met::Left);
            let first = match flow.dialled.protocol {
                UDP => 0,
                _ => TcpFlags::SYN,
            };
            track
                .bench
                .pass(Ingress, &flow.dialled.flags(first).bytes());

            assert_eq!(track.meet(&flow.dialled.bytes()), Met::Left);
            assert_eq!(track.meet(&flow.wire.reply().bytes()), Met::Left);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_segment_that_begins_or_ends_something_is_left_to_the_kernel() {
    Track::with_each_connection(|track, flow| {
        for flags in [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST] {
            let packet = flow.dialled.flags(flags | TcpFlags::ACK);
            assert_eq!(track.meet(&packet.bytes()), Met::Left, "{flags}");
            let packet = flow.wire.reply().flags(flags | TcpFlags::ACK);
            assert_eq!(track.meet(&packet.bytes()), Met::Left, "{flags}");
        }
        // They have not been seen, either.
        assert!(matches!(
            track.meet(&flow.dialled.bytes()),
            Met::Forwarded(_)
        ));
    });
}

#[test]
#[ignore = "needs root"]
fn a_flow_that_is_reset_is_left_to_the_kernel_within_a_second() {
    Track::with_each_connection(|track, flow| {
        assert!(matches!(
            track.meet(&flow.dialled.bytes()),
            Met::Forwarded(_)
        ));
        let reset = flow.dialled.flags(TcpFlags::RST);
        track.bench.pass(Ingress, &reset.bytes());

        eventually("the reset counts there", || {
            track.meet(&flow.dialled.bytes()) == Met::Left
        });
        eventually("the reset counts back", || {
            track.meet(&flow.wire.reply().bytes()) == Met::Left
        });
    });
}

#[test]
#[ignore = "needs root"]
fn a_packet_with_no_hop_left_is_left_to_the_kernel_which_says_so() {
    for (flow, service) in flows() {
        Track::run(&[service], |track| {
            track.establish(&flow);
            for hops in [0, 1] {
                assert_eq!(track.meet(&flow.dialled.hops(hops).bytes()), Met::Left);
            }
            let there = track.sent(flow.wire.hops(2), NEXT_TO_BACKENDS);
            assert_eq!(
                track.meet(&flow.dialled.hops(2).bytes()),
                Met::Forwarded(there)
            );
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_packet_that_is_too_big_is_left_to_the_kernel_and_the_next_goes_on() {
    static MOST: [u8; MTU - 60] = [7; MTU - 60];
    static TOO_MUCH: [u8; MTU] = [7; MTU];
    for (flow, service) in flows() {
        Track::run(&[service], |track| {
            track.establish(&flow);
            let too_much = flow.dialled.payload(&TOO_MUCH).bytes();
            for payload in [&b"short"[..], &MOST, b"short again"] {
                assert_eq!(track.meet(&too_much), Met::Left);
                // Where the first packet of a second is too big, so are all of that second.
                let packet = flow.dialled.payload(payload).bytes();
                let there = track.sent(flow.wire.payload(payload), NEXT_TO_BACKENDS);
                eventually("what fits is forwarded", || {
                    track.meet(&packet) == Met::Forwarded(there.clone())
                });
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_backend_without_a_neighbour_is_left_to_the_kernel_until_there_is_one() {
    for (from, frontend, backend, neighbour) in [
        (
            "198.51.100.9:40000",
            "203.0.113.5:80",
            "10.9.0.1:8080",
            "192.0.2.99",
        ),
        (
            "[fd51::9]:40000",
            "[fd03::5]:80",
            "[fd00:9::1]:8080",
            "fd02::99",
        ),
    ] {
        let (flow, service) = flow(tcp(from, frontend, TcpFlags::ACK), backend);
        Track::run(&[service], |track| {
            track.establish(&flow);
            assert_eq!(track.meet(&flow.dialled.bytes()), Met::Left);

            let set = |text: &str| ip(&format!("neigh replace {neighbour} dev out0 {text}"));
            set("lladdr 02:00:00:00:00:11 nud permanent");
            let goes_to = |router| {
                let there = track.sent(flow.wire, router);
                eventually("it goes to the neighbour", || {
                    track.meet(&flow.dialled.bytes()) == Met::Forwarded(there.clone())
                });
            };
            goes_to(NEXT_TO_CLIENTS);
            // It moves to another link address, then goes.
            set("lladdr 02:00:00:00:00:12 nud permanent");
            goes_to(NEXT_TO_BACKENDS);
            ip(&format!("neigh del {neighbour} dev out0"));
            eventually("the neighbour is gone", || {
                track.meet(&flow.dialled.bytes()) == Met::Left
            });
        });
    }
}

#[test]
#[ignore = "needs root"]
fn the_kernel_is_shown_a_packet_of_a_flow_every_sixteen_seconds() {
    for (from, frontend, backend) in [
        ("198.51.100.9", "203.0.113.5:80", BACKEND_V4),
        ("[fd51::9]", "[fd03::5]:80", BACKEND_V6),
    ] {
        let turn = Datapath::seconds_since_boot() + 4;
        let mut ports = 40_000..;
        let port = ports.find(|port| is_turn(turn, *port)).unwrap();
        let dialled = tcp(&format!("{from}:{port}"), frontend, TcpFlags::ACK);
        let (flow, service) = flow(dialled, backend);
        Track::run(&[service], |track| {
            track.establish(&flow);
            for packet in [flow.dialled, flow.wire.reply()] {
                let bytes = packet.bytes();
                let met = |is_shown: &mut bool| {
                    let before = Datapath::seconds_since_boot();
                    let met = track.meet_once(&bytes, None);
                    let is_turn = is_turn(before, port) && before == Datapath::seconds_since_boot();
                    *is_shown |= is_turn && met == Met::Left;
                    is_turn && *is_shown && met != Met::Left
                };
                let mut is_shown = false;
                eventually("it is shown and goes on", || met(&mut is_shown));
            }
        });
    }
}

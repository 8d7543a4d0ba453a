//! Which translated flows have been silent for too long.

use node_dp_common::{Flow, FlowKey, FlowValue, flow::Role};

const TCP: u8 = 6;

/// The flow of an entry, if the entry is its origin and the flow has been silent for too long; times are seconds since boot.
///
/// The other entries of a flow say nothing of it: they go with their origin.
pub fn expired(key: &FlowKey, value: &FlowValue, now: u32) -> Option<Flow> {
    if value.role() != Some(Role::Origin) {
        return None;
    }
    let timeout = match key.protocol() {
        TCP => value.state().tcp_timeout(),
        _ => value.state().udp_timeout(),
    };
    // A packet may have passed since `now` was read.
    let silence = now.saturating_sub(value.last_seen());
    (silence > timeout).then(|| Flow::from_origin(key, value))
}

/// The keys of a flow's entries, in the order in which they are removed: the origin last, so that what is left by an
/// interrupted removal is still found.
pub fn keys(flow: &Flow) -> Vec<FlowKey> {
    let mut keys = vec![flow.reply().0];
    if flow.is_masqueraded() {
        keys.extend([flow.masquerading().0, flow.unmasquerading().0]);
    }
    keys.push(flow.origin(node_dp_common::FlowState::New, 0).0);
    keys
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use node_dp_common::{Address, FlowState, Tuple};

    use super::*;

    const UDP: u8 = 17;

    #[test]
    fn a_flow_expires_once_it_was_silent_for_longer_than_its_state_allows() {
        for (protocol, state, timeout) in [
            (TCP, FlowState::New, 60),
            (TCP, FlowState::Established, 86_400),
            (TCP, FlowState::Reset, 10),
            (UDP, FlowState::New, 30),
            (UDP, FlowState::Established, 120),
        ] {
            let (key, value) = flow(protocol).origin(state, 1000);

            assert_eq!(expired(&key, &value, 1000 + timeout), None);
            let flow = flow(protocol);
            assert_eq!(expired(&key, &value, 1001 + timeout), Some(flow));
        }
    }

    #[test]
    fn a_packet_after_the_clock_was_read_keeps_the_flow() {
        let (key, value) = flow(UDP).origin(FlowState::New, 1001);

        assert_eq!(expired(&key, &value, 1000), None);
    }

    #[test]
    fn only_the_origin_tells_and_it_goes_last() {
        let flow = flow(TCP);
        for (key, value) in [flow.reply(), flow.masquerading(), flow.unmasquerading()] {
            assert_eq!(expired(&key, &value, u32::MAX), None);
            assert!(keys(&flow).contains(&key));
        }

        let (origin, _) = flow.origin(FlowState::New, 0);
        assert_eq!(keys(&flow).len(), 4);
        assert_eq!(keys(&flow).last(), Some(&origin));
    }

    fn flow(protocol: u8) -> Flow {
        let tuple = |from: u8, to: u8| Tuple {
            source: host(from),
            destination: host(to),
            source_port: 1000.into(),
            destination_port: 80.into(),
        };
        Flow {
            dialled: tuple(1, 2),
            routed: tuple(1, 3),
            masquerade: host(4),
            protocol,
        }
    }

    fn host(number: u8) -> Address {
        Ipv4Addr::new(10, 0, 0, number).into()
    }
}

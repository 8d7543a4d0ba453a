//! Status survives the way to a CLI of another version.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

#[test]
fn a_gateways_status_reads_back_what_it_printed() {
    let status = GatewayStatus {
        cluster: "east".to_owned(),
        peers: vec![Peer {
            cluster: "west".to_owned(),
            state: PeerState::Connected,
            address: Some("[fd00::1]:4700".parse().unwrap()),
            refused: BTreeMap::from([("namespace".to_owned(), 2)]),
            ..Peer::default()
        }],
        ..GatewayStatus::default()
    };

    let printed = serde_json::to_value(&status).unwrap();

    assert_eq!(printed["peers"][0]["state"], "connected");
    assert_eq!(
        serde_json::from_value::<GatewayStatus>(printed).unwrap(),
        status
    );
}

#[test]
fn an_agents_status_reads_back_what_it_printed() {
    let status = AgentStatus {
        node: "n1".to_owned(),
        clusters: vec![ClusterVerdict {
            cluster: "west".to_owned(),
            state: ClusterState::Up,
            path: PathState::Good,
            ..ClusterVerdict::default()
        }],
        ..AgentStatus::default()
    };

    let printed = serde_json::to_value(&status).unwrap();

    assert_eq!(printed["clusters"][0]["path"], "good");
    assert_eq!(
        serde_json::from_value::<AgentStatus>(printed).unwrap(),
        status
    );
}

#[test]
fn fields_of_a_newer_daemon_are_ignored_and_those_of_an_older_one_filled_in() {
    let read: AgentStatus =
        serde_json::from_value(json!({"cluster": "east", "invented": {"later": 1}})).unwrap();

    let expected = AgentStatus {
        cluster: "east".to_owned(),
        ..AgentStatus::default()
    };
    assert_eq!(read, expected);
}

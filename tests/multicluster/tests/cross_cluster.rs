//! A client calls a global service and backends of both clusters answer: TCP and UDP, IPv4 and IPv6, address and name.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::time::Duration;

use multicluster::{Client, Family, Lab, Mode, Options, Topology};

const SOON: Duration = Duration::from_secs(20);

const NAME: &str = "web.shop.svc.clusterset.local";

multicluster::in_both_modes!(
    a_global_service_is_answered_by_both_clusters_over_every_protocol_and_family,
    a_backend_in_another_cluster_sees_the_client_pods_own_address,
);

fn a_global_service_is_answered_by_both_clusters_over_every_protocol_and_family(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("crosscluster"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");

    for (family, address) in [(Family::V4, "10.101.0.10"), (Family::V6, "fd00:101:1::10")] {
        for host in [address, NAME] {
            let both = ["east", "west"];
            client
                .wait_for_clusters(&both, SOON, |c| c.http(host, 80, family))
                .unwrap();
            client
                .wait_for_clusters(&both, SOON, |c| c.udp(host, 7, family))
                .unwrap();
        }
        let answer = client.udp(address, 7, family).unwrap();
        assert_eq!(answer.from.as_deref(), Some(address));
    }
}

fn a_backend_in_another_cluster_sees_the_client_pods_own_address(mode: Mode) {
    let topology = Topology::demo().unwrap().named(&mode.lab("crosssource"));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let client = Client::new(&lab, "east/client");
    let own = lab.plan().pod("east/client").unwrap();
    let own = own.ipv4().unwrap().to_string();

    let seen = multicluster::wait_for(SOON, "an answer from west", || {
        let answer = client.http("10.101.0.10", 80, Family::V4)?;
        Ok((answer.cluster == "west").then_some(answer.client))
    });

    // The server listens on both families with one socket, which shows IPv4 addresses in IPv6 form.
    assert_eq!(seen.unwrap().trim_start_matches("::ffff:"), own);
}

//! A link's state is shown in its object's conditions and counts.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use cluster_registry::link::LinkStatus;
use kube::Api;
use serde_json::json;

use super::{waiting, world::World};
use crate::api::{ClusterLink, ClusterLinkStatus};

#[tokio::test]
async fn kube_a_links_conditions_follow_its_state() {
    let world = World::start().await;
    let c1 = &world.clusters[0];
    c1.set(json!({"apiVersion": "isthmus.io/v1alpha1", "kind": "ClusterLink", "metadata": {"name": "c2"},
        "spec": {"addresses": ["192.0.2.1:4700"]}}))
    .await;
    let api: Api<ClusterLink> = Api::all(c1.client.clone());
    until(&api, |status| is(status, "Connected", "Unknown", "NotUsed")).await;

    c1.tell_link("c2", link(false, &[], Duration::from_secs(86_400)));
    until(&api, |status| is(status, "Connected", "False", "NoSession")).await;

    c1.tell_link(
        "c2",
        link(true, &[("own_range", 3)], Duration::from_secs(60)),
    );
    let status = until(&api, |status| is(status, "Connected", "True", "SessionUp")).await;
    assert!(is(&status, "Synced", "True", "AllKnown"));
    assert!(is(
        &status,
        "PolicyViolation",
        "True",
        "AnnouncementsRefused"
    ));
    assert!(is(&status, "CertificateExpiring", "True", "EndsSoon"));
    assert_eq!((status.accepted, status.rejected), (7, 3));
    assert_eq!(status.rejections[0].reason, "own_range");
    assert_eq!(status.observed_generation, Some(1));
}

async fn until(
    api: &Api<ClusterLink>,
    is_reached: impl Fn(&ClusterLinkStatus) -> bool,
) -> ClusterLinkStatus {
    let status = |link: &ClusterLink| link.status.clone();
    let is_so = |link: Option<&ClusterLink>| link.and_then(status).is_some_and(|s| is_reached(&s));
    let link = waiting::until(api, "c2", "as its link", is_so).await;
    link.and_then(|link| link.status).unwrap()
}

fn is(status: &ClusterLinkStatus, kind: &str, holds: &str, reason: &str) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|c| c.type_ == kind && c.status == holds && c.reason == reason)
}

pub(super) fn link(
    connected: bool,
    refused: &[(&'static str, u64)],
    expires_in: Duration,
) -> LinkStatus {
    LinkStatus {
        connected,
        since: SystemTime::now(),
        reason: (!connected).then(|| "connection refused".to_owned()),
        synced: connected,
        awaited: false,
        accepted: 7,
        refused: refused.iter().copied().collect::<BTreeMap<_, _>>(),
        certificate_expires: Some(SystemTime::now() + expires_in),
    }
}

//! Tests of the derived objects, on manifests in memory.

use super::*;
use crate::topology::Topology;

#[test]
fn a_service_gets_a_slice_per_family_with_the_pods_it_selects() {
    let slices = derive(SERVICE);

    assert_eq!(slices.len(), 2);
    assert_eq!(slices[0]["addressType"], "IPv4");
    assert_eq!(slices[0]["endpoints"][0]["addresses"][0], "10.2.1.11");
    assert_eq!(slices[0]["endpoints"][1]["addresses"][0], "10.2.2.11");
    assert_eq!(slices[0]["ports"][0]["port"], 8080);
    assert_eq!(slices[1]["addressType"], "IPv6");
}

#[test]
fn a_pod_that_is_not_ready_stays_in_its_slice() {
    let slices = derive_with(SERVICE, |pod| pod.pod.name == "web-1");

    assert_eq!(slices[0]["endpoints"][0]["conditions"]["ready"], true);
    assert_eq!(slices[0]["endpoints"][1]["conditions"]["ready"], false);
}

#[test]
fn a_service_may_publish_pods_before_they_are_ready() {
    let early = SERVICE.replace("spec:", "spec:\n  publishNotReadyAddresses: true");
    let slices = derive_with(&early, |pod| pod.pod.name == "web-1");

    assert_eq!(slices[0]["endpoints"][1]["conditions"]["ready"], true);
}

#[test]
fn a_malformed_document_does_not_hide_its_neighbours() {
    let slices = derive(&format!("kind: [\n---\n{SERVICE}---\n}}\n"));

    assert_eq!(slices.len(), 2);
}

#[test]
fn families_limit_the_slices() {
    let slices = derive(&SERVICE.replace("spec:", "spec:\n  ipFamilies: [IPv6]"));

    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0]["addressType"], "IPv6");
}

#[test]
fn a_service_of_another_namespace_selects_nothing() {
    let slices = derive(&SERVICE.replace("namespace: shop", "namespace: elsewhere"));

    assert_eq!(slices, Vec::<Value>::new());
}

#[test]
fn a_numbered_target_port_is_taken_as_it_is() {
    let slices = derive(&SERVICE.replace("targetPort: http", "targetPort: 99"));

    assert_eq!(slices[0]["ports"][0]["port"], 99);
}

#[test]
fn a_service_without_selector_is_left_to_its_author() {
    let slices = derive(&SERVICE.replace("selector: {app: web}", "selector: {}"));

    assert_eq!(slices, Vec::<Value>::new());
}

const SERVICE: &str = "\
kind: Service
metadata:
  name: web
  namespace: shop
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
";

fn derive(text: &str) -> Vec<Value> {
    derive_with(text, |_| true)
}

fn derive_with(text: &str, is_ready: impl Fn(&PodPlan) -> bool) -> Vec<Value> {
    let plan = Plan::new(&Topology::demo().unwrap(), Path::new("/cgroup")).unwrap();
    documents(text)
        .filter_map(Selecting::of)
        .flat_map(|service| {
            let pods = plan.pods_of("west").filter(|p| service.selects(p));
            service.slices(&pods.collect::<Vec<_>>(), &is_ready)
        })
        .collect()
}

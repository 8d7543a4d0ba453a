//! Endpoints in bulk, twice and with hints.

use cluster_registry::endpoint::Hints;

use super::*;

#[test]
fn hints_are_taken_and_bad_ones_left_out() {
    let (slice, flaws) = slice(json!([
        {"addresses": ["10.1.0.1"], "hints": {"forZones": [{"name": "eu-1a"}, {"name": "a zone"}],
            "forNodes": [{"name": "n1"}, {"name": "N2"}]}},
        {"addresses": ["10.1.0.2"], "hints": {}},
        {"addresses": ["10.1.0.3"], "hints": {"forZones": [{"name": "a zone"}]}},
    ]));

    let hints = endpoint(&slice, "10.1.0.1").hints.as_deref();
    assert_eq!(
        hints,
        Some(&Hints {
            zones: vec!["eu-1a".into()],
            nodes: vec!["n1".parse().unwrap()],
        })
    );
    assert_eq!(endpoint(&slice, "10.1.0.2").hints, None);
    assert_eq!(endpoint(&slice, "10.1.0.3").hints, None);
    assert_eq!(flaws.len(), 3, "{flaws:?}");
}

#[test]
fn an_address_that_is_twice_in_a_slice_counts_in_its_better_condition() {
    let gone =
        json!({"addresses": ["10.1.0.1"], "nodeName": "old", "conditions": {"ready": false}});
    let new = json!({"addresses": ["10.1.0.1"], "nodeName": "new"});

    for endpoints in [json!([gone, new]), json!([new, gone])] {
        let (slice, _) = slice(endpoints);

        let kept = endpoint(&slice, "10.1.0.1");
        assert_eq!(kept.node.as_ref().unwrap().as_str(), "new");
        assert_eq!(slice.endpoint_by_address.len(), 1);
    }
}

#[test]
fn ten_thousand_endpoints_share_their_ports() {
    let endpoints: Vec<Value> = (0..10_000)
        .map(|n| json!({"addresses": [format!("10.1.{}.{}", n / 250, n % 250 + 1)]}))
        .collect();
    let given: EndpointSlice = parse(json!({"addressType": "IPv4", "endpoints": endpoints,
        "metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": 8080}]}));

    let Object::Slice(slice) = given.convert(&mut Vec::new()).unwrap() else {
        panic!();
    };

    assert_eq!(slice.endpoint_by_address.len(), 10_000);
    let first = endpoint(&slice, "10.1.0.1");
    let last = endpoint(&slice, "10.1.39.250");
    assert!(std::sync::Arc::ptr_eq(&first.ports, &last.ports));
}

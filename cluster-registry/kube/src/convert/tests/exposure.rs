//! How a service is reached from outside, and that no mistake opens it wider than it asks for.

use cluster_registry::{
    service::{
        Exposure, IpMode, LoadBalancerIp, MAX_OUTSIDE_ADDRESSES, MAX_SOURCE_RANGES, SourcePolicy,
    },
    traffic::TrafficPolicy,
};

use super::*;

#[test]
fn a_service_inside_the_cluster_has_no_exposure() {
    let (service, _) = of(json!({"clusterIP": "10.96.0.1", "externalTrafficPolicy": "Local"}));

    assert_eq!(service.exposure, None);
}

#[test]
fn everything_of_a_load_balancer_is_taken() {
    let (service, flaws) = balanced(
        json!({"loadBalancerIP": "203.0.113.9", "externalIPs": ["198.51.100.1", "198.51.100.1"],
            "loadBalancerSourceRanges": [" 192.0.2.7/24 ", "0.0.0.0/0"], "allocateLoadBalancerNodePorts": false,
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}),
        json!([{"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}, {"hostname": "lb.example"}]),
    );

    assert_eq!(flaws, [] as [String; 0]);
    assert_eq!(
        service,
        Exposure {
            external_ips: vec![ip("198.51.100.1")],
            load_balancer: vec![
                LoadBalancerIp {
                    ip: ip("203.0.113.1"),
                    mode: IpMode::Vip
                },
                LoadBalancerIp {
                    ip: ip("203.0.113.2"),
                    mode: IpMode::Proxy
                },
            ],
            requested_ip: Some(ip("203.0.113.9")),
            source_ranges: vec![
                "192.0.2.0/24".parse().unwrap(),
                "0.0.0.0/0".parse().unwrap()
            ],
            source_policy: SourcePolicy::Allow,
            omits_node_ports: true,
            health_check_node_port: std::num::NonZeroU16::new(32000),
            traffic_policy: TrafficPolicy::Local,
        }
    );
}

#[test]
fn addresses_of_a_family_that_the_service_lacks_are_left_out() {
    let (service, flaws) = balanced(
        json!({"externalIPs": ["2001:db8::1", "198.51.100.1"]}),
        json!([{"ip": "2001:db8::2"}]),
    );

    assert_eq!(service.external_ips, [ip("198.51.100.1")]);
    assert_eq!(service.load_balancer, []);
    assert_eq!(
        flaws,
        [
            "external IP '2001:db8::1' is of a family that the service does not have: it is left out",
            "load balancer address '2001:db8::2' is of a family that the service does not have: it is left out",
        ]
    );
}

#[test]
fn addresses_that_nobody_can_route_are_left_out() {
    let (service, flaws) = of(json!({"clusterIP": "10.96.0.1",
        "externalIPs": ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::ffff:1.2.3.4", "web"]}));

    assert_eq!(service.exposure, None);
    assert_eq!(flaws.len(), 6);
}

#[test]
fn source_ranges_that_are_all_wrong_let_nobody_in() {
    let (service, flaws) = balanced(
        json!({"loadBalancerSourceRanges": ["10.0.0.0/33", "office"], "externalIPs": ["198.51.100.1"]}),
        json!([{"ip": "203.0.113.1"}]),
    );

    assert_eq!(service.load_balancer, []);
    assert_eq!(
        flaws,
        [
            "source range '10.0.0.0/33' is not a range of IP addresses: it is left out",
            "source range 'office' is not a range of IP addresses: it is left out",
            "none of its loadBalancerSourceRanges is a range, so nobody may use its load balancer's addresses",
        ]
    );
}

#[test]
fn a_wrong_source_range_among_good_ones_costs_only_itself() {
    let (service, flaws) = balanced(
        json!({"loadBalancerSourceRanges": ["office", "192.0.2.0/24"]}),
        json!([{"ip": "203.0.113.1"}]),
    );

    assert_eq!(service.source_ranges, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(service.load_balancer.len(), 1);
    assert_eq!(flaws.len(), 1);
}

#[test]
fn the_older_annotation_for_source_ranges_counts_without_the_field() {
    let given = |spec: Value| {
        let (service, _) = service(json!({
            "metadata": {"name": "web", "annotations": {
                "service.beta.kubernetes.io/load-balancer-source-ranges": "192.0.2.0/25, 198.51.100.0/24"}},
            "spec": spec, "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}));
        service.exposure.unwrap().source_ranges.len()
    };

    assert_eq!(
        given(json!({"clusterIP": "10.96.0.1", "type": "LoadBalancer"})),
        2
    );
    let both = json!({"clusterIP": "10.96.0.1", "type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]});
    assert_eq!(given(both), 1);
}

#[test]
fn an_unknown_ip_mode_leaves_the_load_balancer_its_place() {
    let (service, flaws) = balanced(json!({}), json!([{"ip": "203.0.113.1", "ipMode": "Magic"}]));

    assert_eq!(service.load_balancer[0].mode, IpMode::Proxy);
    assert_eq!(
        flaws,
        ["ipMode is 'Magic', not VIP or Proxy: 'Proxy' is taken"]
    );
}

#[test]
fn lists_without_end_are_cut() {
    let many: Vec<String> = (0..300)
        .map(|n| format!("198.18.{}.{}", n / 200, n % 200 + 1))
        .collect();
    let ranges: Vec<String> = many.iter().map(|text| format!("{text}/32")).collect();

    let (service, flaws) = balanced(
        json!({"externalIPs": many, "loadBalancerSourceRanges": ranges}),
        json!([]),
    );

    assert_eq!(service.external_ips.len(), MAX_OUTSIDE_ADDRESSES);
    assert_eq!(service.source_ranges.len(), MAX_SOURCE_RANGES);
    assert!(flaws.contains(&"it has more than 64 external IPs: the rest is left out".to_owned()));
}

#[test]
fn an_annotation_makes_the_source_ranges_those_that_are_kept_out() {
    for (annotation, value, expected, flaws) in [
        (
            "isthmus.io/src-ranges-policy",
            "deny",
            SourcePolicy::Deny,
            0,
        ),
        (
            "service.cilium.io/src-ranges-policy",
            " Deny ",
            SourcePolicy::Deny,
            0,
        ),
        (
            "isthmus.io/src-ranges-policy",
            "allow",
            SourcePolicy::Allow,
            0,
        ),
        // To let in only those that are named is the policy that cannot let in too many.
        (
            "isthmus.io/src-ranges-policy",
            "block",
            SourcePolicy::Allow,
            1,
        ),
    ] {
        let (exposure, told) = ranged(json!({annotation: value}), json!(["192.0.2.0/24"]));

        assert_eq!(exposure.source_policy, expected, "{value}");
        assert_eq!(exposure.source_ranges.len(), 1);
        assert_eq!(told.len(), flaws, "{told:?}");
    }
}

#[test]
fn a_wrong_range_among_those_that_are_kept_out_lets_nobody_in() {
    let annotations = json!({"isthmus.io/src-ranges-policy": "deny"});
    let (exposure, flaws) = ranged(annotations, json!(["192.0.2.0/24", "office"]));

    assert_eq!(exposure.load_balancer, []);
    assert_eq!(
        flaws,
        [
            "source range 'office' is not a range of IP addresses: it is left out",
            "not all of the loadBalancerSourceRanges that are to be kept out can be, so nobody may use its load \
             balancer's addresses",
        ]
    );
}

fn of(spec: Value) -> (RegistryService, Vec<String>) {
    service(json!({"metadata": {"name": "web"}, "spec": spec}))
}

/// An IPv4 service of type LoadBalancer.
fn balanced(mut spec: Value, ingress: Value) -> (Exposure, Vec<String>) {
    spec["type"] = json!("LoadBalancer");
    spec["clusterIP"] = json!("10.96.0.1");
    let (service, flaws) = service(json!({"metadata": {"name": "web"}, "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress}}}));
    (*service.exposure.unwrap_or_default(), flaws)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What comes of a load balancer with annotations and source ranges.
fn ranged(annotations: Value, ranges: Value) -> (Exposure, Vec<String>) {
    let (service, flaws) = service(json!({
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {"clusterIP": "10.96.0.1", "type": "LoadBalancer", "loadBalancerSourceRanges": ranges},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}));
    (*service.exposure.unwrap(), flaws)
}

//! Each field on which exports can differ: whose value counts, and which conflict is told with which message.

use std::time::Duration;

use crate::{
    mcs::{ConflictReason, Export, Import, ImportKind, import},
    name::ClusterName,
    service::{Protocol, Service, ServiceKind, Timestamp},
    testing::{cluster, port},
    traffic::{
        IpFamilies,
        IpFamily::{V4, V6},
        IpFamilyPolicy, SessionAffinity, TrafficDistribution, TrafficPolicy,
    },
};

#[test]
fn nothing_exported_is_no_import() {
    let plain = Service::default();
    let renamed = Service {
        kind: ServiceKind::ExternalName,
        ..exported(1)
    };

    assert_eq!(import_of([("east", plain), ("west", renamed)]), None);
}

#[test]
fn equal_exports_have_no_conflict() {
    let import = import_of([("east", exported(2)), ("west", exported(1))]).unwrap();

    assert_eq!(import.conflicts, []);
    assert_eq!(import.oldest.cluster, cluster("west"));
    assert_eq!(import.clusters.len(), 2);
}

#[test]
fn of_equally_old_exports_the_first_by_cluster_name_wins() {
    let headless = Service {
        kind: ServiceKind::Headless,
        ..exported(1)
    };

    let import = import_of([("west", exported(1)), ("east", headless)]).unwrap();

    assert_eq!(import.kind, ImportKind::Headless);
}

#[test]
fn a_timestamp_in_the_future_only_ranks_last() {
    let mut future = exported(u64::MAX);
    future.kind = ServiceKind::Headless;

    let import = import_of([("east", future), ("west", exported(1))]).unwrap();

    assert_eq!(import.kind, ImportKind::ClusterSetIp);
}

#[test]
fn ports_are_united_and_each_leads_to_its_clusters() {
    let import = import_of([
        ("east", with_ports(1, &[("http", 80)])),
        ("west", with_ports(2, &[("http", 80), ("admin", 81)])),
    ])
    .unwrap();

    let names: Vec<_> = import.ports.iter().map(|p| p.port).collect();
    assert_eq!(names, [80, 81]);
    assert_eq!(
        told(&import),
        [(
            ConflictReason::Port,
            "port admin 81/TCP of cluster west leads only to the 1 of 2 clusters that export it"
        )]
    );
}

#[test]
fn of_two_ports_with_one_name_the_older_exports_counts() {
    let import = import_of([
        ("east", with_ports(2, &[("http", 43)])),
        ("west", with_ports(1, &[("http", 42)])),
    ])
    .unwrap();

    assert_eq!(import.ports, [port("http", Protocol::Tcp, 42)]);
    assert_eq!(
        told(&import)[0].1,
        "port http 43/TCP of cluster east is left out, for http 42/TCP of cluster west, whose export is older, counts; port http 42/TCP of cluster west leads only to the 1 of 2 clusters that export it"
    );
}

#[test]
fn of_two_ports_with_one_number_the_older_exports_counts() {
    let import = import_of([
        ("east", with_ports(1, &[("http", 80)])),
        ("west", with_ports(2, &[("web", 80)])),
    ])
    .unwrap();

    assert_eq!(import.ports, [port("http", Protocol::Tcp, 80)]);
    assert_eq!(told(&import)[0].0, ConflictReason::Port);
}

#[test]
fn one_number_over_two_protocols_is_two_ports() {
    let mut both = exported(1);
    both.ports = vec![
        port("tcp", Protocol::Tcp, 42),
        port("udp", Protocol::Udp, 42),
    ];

    let import = import_of([("east", both.clone()), ("west", both)]).unwrap();

    assert_eq!(import.ports.len(), 2);
    assert_eq!(import.conflicts, []);
}

#[test]
fn node_ports_differ_from_cluster_to_cluster_without_conflict() {
    let mut node_port = with_ports(1, &[("http", 80)]);
    node_port.ports[0].node_port = std::num::NonZeroU16::new(30_080);

    let import = import_of([
        ("east", node_port),
        ("west", with_ports(2, &[("http", 80)])),
    ])
    .unwrap();

    assert_eq!(import.conflicts, []);
    assert_eq!(import.ports[0].node_port, None);
}

#[test]
fn a_message_names_a_few_ports_of_many() {
    let many: Vec<(String, u16)> = (1..=100).map(|n| (format!("p{n}"), n)).collect();
    let many: Vec<(&str, u16)> = many.iter().map(|(name, n)| (name.as_str(), *n)).collect();

    let import = import_of([("east", with_ports(1, &many)), ("west", exported(2))]).unwrap();

    assert!(told(&import)[0].1.ends_with("; and 96 more"));
}

#[test]
fn of_every_other_field_the_oldest_exports_value_counts() {
    for (change, reason, winner) in CASES {
        let (mut oldest, mut other) = (exported(1), exported(2));
        change(&mut oldest, 0);
        change(&mut other, 1);

        let others = [("east", other.clone()), ("north", other)];
        let [first, second] = others;
        let import = import_of([first, second, ("west", oldest.clone())]).unwrap();

        let [conflict] = import.conflicts.as_slice() else {
            panic!("{reason}: {:?}", import.conflicts);
        };
        assert_eq!(conflict.reason.as_str(), reason);
        assert_eq!(
            conflict.message,
            format!(
                "{winner} of cluster west, whose export is the oldest, counts; 2 of 3 clusters differ"
            )
        );
        assert_eq!(import.session_affinity, oldest.session_affinity);
        assert_eq!(
            import.internal_traffic_policy,
            oldest.internal_traffic_policy
        );
        assert_eq!(import.traffic_distribution, oldest.traffic_distribution);
        assert_eq!(import.labels, export_of(&mut oldest).labels);
        assert_eq!(import.annotations, export_of(&mut oldest).annotations);
    }
}

#[test]
fn families_conflict_only_where_one_leads_to_endpoints_that_cannot_be_reached() {
    let dual = IpFamilies::new([V4, V6], IpFamilyPolicy::PreferDualStack);
    let single = IpFamilies::new([V4], IpFamilyPolicy::SingleStack);
    let with = |created, ip_families| Service {
        ip_families,
        ..exported(created)
    };

    let lacking = import_of([("east", with(1, dual)), ("west", with(2, single))]).unwrap();
    assert_eq!(
        told(&lacking),
        [(
            ConflictReason::IpFamily,
            "ipFamilies IPv4,IPv6 of cluster east, whose export is the oldest, counts; 1 of 2 clusters differ"
        )]
    );
    assert_eq!(lacking.ip_families, dual);

    let more = import_of([("east", with(1, single)), ("west", with(2, dual))]).unwrap();
    assert_eq!(more.conflicts, []);
    assert_eq!(more.ip_families, single);
}

/// How the oldest export's and the others' services differ, and what is told.
const CASES: [(Change, &str, &str); 7] = [
    (
        |s, n| s.kind = [ServiceKind::ClusterIp, ServiceKind::Headless][n],
        "TypeConflict",
        "type ClusterSetIP",
    ),
    (
        |s, n| s.session_affinity = [clip(10), SessionAffinity::None][n],
        "SessionAffinityConflict",
        "sessionAffinity ClientIP",
    ),
    (
        |s, n| s.session_affinity = [clip(10), clip(20)][n],
        "SessionAffinityConfigConflict",
        "the sessionAffinity timeout 10 s",
    ),
    (
        |s, n| s.internal_traffic_policy = [TrafficPolicy::Local, TrafficPolicy::Cluster][n],
        "InternalTrafficPolicyConflict",
        "internalTrafficPolicy Local",
    ),
    (
        |s, n| s.traffic_distribution = [Some(TrafficDistribution::PreferSameNode), None][n],
        "TrafficDistributionConflict",
        "trafficDistribution 'PreferSameNode'",
    ),
    (
        |s, n| export_of(s).labels = [("a".to_owned(), n.to_string())].into(),
        "LabelsConflict",
        "the exported labels (1 of them)",
    ),
    (
        |s, n| {
            let annotation = (n > 0).then(|| ("a".to_owned(), String::new()));
            export_of(s).annotations = annotation.into_iter().collect();
        },
        "AnnotationsConflict",
        "the exported annotations (0 of them)",
    ),
];

/// Gives a service the first or the second value of a field.
type Change = fn(&mut Service, usize);

fn export_of(service: &mut Service) -> &mut Export {
    service.export.as_mut().unwrap()
}

fn clip(seconds: u64) -> SessionAffinity {
    SessionAffinity::ClientIp {
        timeout: Duration::from_secs(seconds),
    }
}

fn exported(created: u64) -> Service {
    Service {
        export: Some(Box::new(Export {
            created: Timestamp(created),
            ..Export::default()
        })),
        ..Service::default()
    }
}

fn with_ports(created: u64, ports: &[(&str, u16)]) -> Service {
    let ports = ports.iter();
    Service {
        ports: ports
            .map(|(name, number)| port(name, Protocol::Tcp, *number))
            .collect(),
        ..exported(created)
    }
}

fn import_of<const N: usize>(definitions: [(&str, Service); N]) -> Option<Import> {
    let definitions: Vec<(ClusterName, Service)> = definitions
        .into_iter()
        .map(|(name, service)| (cluster(name), service))
        .collect();
    import(definitions.iter().map(|(name, service)| (name, service)))
}

fn told(import: &Import) -> Vec<(ConflictReason, &str)> {
    let conflicts = import.conflicts.iter();
    conflicts.map(|c| (c.reason, c.message.as_str())).collect()
}

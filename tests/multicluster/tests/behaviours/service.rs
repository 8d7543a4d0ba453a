//! The services of a row: one for each place, with the endpoints that it shall have, as manifests.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use multicluster::Plan;
use serde_json::{Value, json};

use crate::matrix::{Family, Place};

/// The namespace of all services and pods.
pub(crate) const NAMESPACE: &str = "matrix";

/// The port that services serve, by TCP and by UDP.
pub(crate) const PORT: u16 = 80;

/// Where pods serve these.
pub(crate) const TCP_TARGET: u16 = 8080;
pub(crate) const UDP_TARGET: u16 = 7007;

/// Second ports of the same kinds, where their readiness is asked, and where they take orders.
pub(crate) const OTHER_TCP_TARGET: u16 = 8081;
pub(crate) const OTHER_UDP_TARGET: u16 = 7008;
pub(crate) const READY_TARGET: u16 = 8090;
pub(crate) const CONTROL_TARGET: u16 = 7099;

/// A port of a service, and where an endpoint serves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
    pub(crate) target: u16,
}

impl Port {
    pub(crate) fn tcp() -> Self {
        Self {
            name: "tcp",
            protocol: "TCP",
            port: PORT,
            target: TCP_TARGET,
        }
    }

    pub(crate) fn udp() -> Self {
        Self {
            name: "udp",
            protocol: "UDP",
            port: PORT,
            target: UDP_TARGET,
        }
    }
}

/// An endpoint of a service.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pod: &'static str,
    conditions: Value,
    zone: Option<&'static str>,
    hints: Value,
    /// The ports that it serves, if not those of the service.
    ports: Option<Vec<Port>>,
}

impl Endpoint {
    pub(crate) fn ready(pod: &'static str) -> Self {
        Self::with_conditions(
            pod,
            json!({"ready": true, "serving": true, "terminating": false}),
        )
    }

    /// It terminates, and still serves.
    pub(crate) fn terminating(pod: &'static str) -> Self {
        Self::with_conditions(
            pod,
            json!({"ready": false, "serving": true, "terminating": true}),
        )
    }

    pub(crate) fn unready(pod: &'static str) -> Self {
        Self::with_conditions(
            pod,
            json!({"ready": false, "serving": false, "terminating": false}),
        )
    }

    /// In a zone, wherever its node is.
    pub(crate) fn in_zone(mut self, zone: &'static str) -> Self {
        self.zone = Some(zone);
        self
    }

    /// For clients in a zone.
    pub(crate) fn for_zone(mut self, zone: &str) -> Self {
        self.hints["forZones"] = json!([{"name": zone}]);
        self
    }

    /// For clients on a node.
    pub(crate) fn for_node(mut self, node: &str) -> Self {
        self.hints["forNodes"] = json!([{"name": node}]);
        self
    }

    /// Serves these ports alone.
    pub(crate) fn serving(mut self, ports: Vec<Port>) -> Self {
        self.ports = Some(ports);
        self
    }

    fn with_conditions(pod: &'static str, conditions: Value) -> Self {
        Self {
            pod,
            conditions,
            zone: None,
            hints: json!({}),
            ports: None,
        }
    }

    fn object(&self, plan: &Plan, cluster: &str, family: Family) -> Value {
        let pod = plan.pod(&format!("{cluster}/{}", self.pod)).unwrap();
        let mut object = json!({
            "addresses": [address_of(&pod.addresses, family)],
            "conditions": self.conditions,
            "nodeName": pod.node,
        });
        if let Some(zone) = self.zone {
            object["zone"] = zone.into();
        }
        if self.hints != json!({}) {
            object["hints"] = self.hints.clone();
        }
        object
    }
}

/// The cluster of a pod.
pub(crate) fn cluster_of(pod: &str) -> &'static str {
    if pod.starts_with('w') { "west" } else { "east" }
}

/// The address of a family among those of a pod.
pub(crate) fn address_of(addresses: &[IpAddr], family: Family) -> IpAddr {
    let mut addresses = addresses.iter().copied();
    let found = addresses.find(|ip| ip.is_ipv4() == (family == Family::V4));
    found.expect("pods have an address of each family")
}

/// The service of a row whose backends are at a place.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// The number of its row, which its addresses follow from.
    row: u8,
    pub(crate) place: Place,
    pub(crate) is_there: bool,
    pub(crate) kind: &'static str,
    pub(crate) families: Vec<Family>,
    pub(crate) ports: Vec<Port>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) labels: BTreeMap<&'static str, &'static str>,
    pub(crate) annotations: BTreeMap<&'static str, &'static str>,
    /// Annotations in the other cluster alone.
    pub(crate) annotations_there: BTreeMap<&'static str, &'static str>,
    /// More fields of its definition.
    pub(crate) spec: BTreeMap<&'static str, Value>,
    /// Whether the load balancer ends connections, if it has addresses of one.
    pub(crate) ip_mode: Option<&'static str>,
}

impl Service {
    /// With both protocols, and both pods of its place.
    pub(crate) fn new(row: u8, place: Place) -> Self {
        Self {
            row,
            place,
            is_there: true,
            kind: "ClusterIP",
            families: Family::ALL.into(),
            ports: vec![Port::tcp(), Port::udp()],
            endpoints: place.pods().map(Endpoint::ready).into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            annotations_there: BTreeMap::new(),
            spec: BTreeMap::new(),
            ip_mode: None,
        }
    }

    /// Its cluster IP and port in east.
    pub(crate) fn frontend(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.cluster_ip("east", family), PORT)
    }

    /// Its address of a load balancer and port.
    pub(crate) fn balanced(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address([203, 0, 113], 0x2001_0db8_0113, family), PORT)
    }

    /// Its external IP and port.
    pub(crate) fn external(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address([198, 51, 100], 0x2001_0db8_0051, family), PORT)
    }

    /// Its node port, of TCP and of UDP.
    pub(crate) fn node_port(&self) -> u16 {
        30_000 + u16::from(self.row) * 10 + u16::from(self.place.number())
    }

    fn name(&self) -> String {
        format!("row-{}-{}", self.row, self.place.number())
    }

    fn cluster_ip(&self, cluster: &str, family: Family) -> IpAddr {
        let (v4, v6) = if cluster == "east" {
            (101, 0xfd00_0101_0001)
        } else {
            (102, 0xfd00_0102_0001)
        };
        match family {
            Family::V4 => Ipv4Addr::new(10, v4, self.row, self.place.number()).into(),
            Family::V6 => self.v6(v6).into(),
        }
    }

    /// An address outside of the clusters.
    fn address(&self, v4: [u8; 3], v6: u64, family: Family) -> IpAddr {
        let [a, b, c] = v4;
        match family {
            Family::V4 => Ipv4Addr::new(a, b, c, self.row * 3 + self.place.number()).into(),
            Family::V6 => self.v6(v6).into(),
        }
    }

    /// The address below a prefix of 48 bits.
    fn v6(&self, prefix: u64) -> Ipv6Addr {
        let host = u128::from(self.row) << 16 | u128::from(self.place.number());
        Ipv6Addr::from_bits(u128::from(prefix) << 80 | host)
    }

    /// The objects of a cluster.
    pub(crate) fn objects(&self, plan: &Plan, cluster: &str) -> Vec<Value> {
        let is_wanted = cluster == "east" || self.place == Place::OtherCluster;
        if !self.is_there || !is_wanted {
            return Vec::new();
        }
        let mut objects = vec![self.object(cluster)];
        for family in &self.families {
            let mut slices: BTreeMap<&[Port], Vec<Value>> = BTreeMap::new();
            for endpoint in &self.endpoints {
                if cluster_of(endpoint.pod) == cluster {
                    let ports = endpoint.ports.as_ref().unwrap_or(&self.ports);
                    let object = endpoint.object(plan, cluster, *family);
                    slices.entry(ports).or_default().push(object);
                }
            }
            let slices = slices.into_iter().zip(1..);
            objects.extend(slices.map(|((ports, endpoints), number)| {
                json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": format!("{}-{family}-{number}", self.name()).to_lowercase(),
                        "namespace": NAMESPACE,
                        "labels": {"kubernetes.io/service-name": self.name()},
                    },
                    "addressType": family.to_string(),
                    "ports": ports.iter().map(|port| json!({
                        "name": port.name,
                        "protocol": port.protocol,
                        "port": port.target,
                    })).collect::<Vec<_>>(),
                    "endpoints": endpoints,
                })
            }));
        }
        objects
    }

    fn object(&self, cluster: &str) -> Value {
        let mut annotations = self.annotations.clone();
        if self.place == Place::OtherCluster {
            annotations.entry("isthmus.io/global").or_insert("true");
        }
        let is_here = cluster == "east";
        if !is_here {
            annotations.extend(&self.annotations_there);
        }
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": self.name(),
                "namespace": NAMESPACE,
                "labels": self.labels,
                "annotations": annotations,
            },
            "spec": self.spec,
        });
        // What changes about a service changes in east, where its clients are.
        let kind = if is_here { self.kind } else { "ClusterIP" };
        let spec = &mut object["spec"];
        spec["type"] = kind.into();
        if kind == "ExternalName" {
            spec["externalName"] = "elsewhere.example".into();
            return object;
        }
        let has_node_ports = kind == "NodePort" || kind == "LoadBalancer";
        let ips = self.families.iter();
        let ips: Vec<IpAddr> = ips
            .map(|family| self.cluster_ip(cluster, *family))
            .collect();
        spec["clusterIP"] = json!(ips.first());
        spec["clusterIPs"] = json!(ips);
        spec["ipFamilyPolicy"] = "PreferDualStack".into();
        let families = self.families.iter().map(ToString::to_string);
        spec["ipFamilies"] = families.collect::<Vec<_>>().into();
        let ports = self.ports.iter().map(|port| {
            let mut object = json!({
                "name": port.name,
                "protocol": port.protocol,
                "port": port.port,
                "targetPort": port.target,
            });
            if has_node_ports {
                object["nodePort"] = self.node_port().into();
            }
            object
        });
        spec["ports"] = ports.collect::<Vec<_>>().into();
        if let Some(mode) = self.ip_mode.filter(|_| is_here) {
            let ips = self
                .families
                .iter()
                .map(|family| json!({"ip": self.balanced(*family).ip(), "ipMode": mode}));
            object["status"] = json!({"loadBalancer": {"ingress": ips.collect::<Vec<_>>()}});
        }
        object
    }
}

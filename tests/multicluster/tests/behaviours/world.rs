//! The lab that all rows share, and a row: its three services, and what is expected of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use multicluster::{
    Lab, Options, Topology,
    topology::{Cluster, Pod, Port},
};

use crate::{
    client::{Call, Client, Kind, Wanted},
    matrix::{Cell, Family, Matrix, Place},
    service::{NAMESPACE, Service, TCP_TARGET, UDP_TARGET, address_of, cluster_of},
};

/// Generous: other tests may run at the same time.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The client's node, and the other one of its cluster.
pub(crate) const HERE: &str = "n1";
pub(crate) const THERE: &str = "n2";

/// Whose socket is dialled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// The client pod's on n1.
    Pod,
    /// One in n1's own network.
    Node,
    /// One in a pod of east that serves.
    Server(&'static str),
}

/// The lab, its clients, and the matrix so far.
pub(crate) struct World {
    pub(crate) lab: Lab,
    clients: BTreeMap<Caller, Client>,
    pub(crate) matrix: Matrix,
}

impl World {
    pub(crate) fn new() -> Self {
        let lab = Lab::up(&topology(), &Options::default()).unwrap();
        let zones = [(HERE, "a"), (THERE, "b")];
        let mut nodes = lab.manifest("east", "lab-derived-nodes.yaml").unwrap();
        for (node, zone) in zones {
            let plain = format!("name: {node}\n");
            assert!(nodes.contains(&plain), "{nodes}");
            let labelled = format!("{plain}  labels: {{topology.kubernetes.io/zone: {zone}}}\n");
            nodes = nodes.replace(&plain, &labelled);
        }
        lab.write_manifest("east", "lab-derived-nodes.yaml", &nodes)
            .unwrap();
        Self {
            clients: BTreeMap::new(),
            matrix: Matrix::default(),
            lab,
        }
    }

    /// Begins a row: its services are there, and nothing is expected of them yet.
    pub(crate) fn row(&mut self, behaviour: &'static str) -> Row<'_> {
        self.matrix.begin(behaviour);
        let number = u8::try_from(self.matrix.len()).unwrap();
        Row {
            services: Place::ALL.map(|place| Service::new(number, place)).into(),
            number,
            wishes: Vec::new(),
            world: self,
        }
    }

    pub(crate) fn client(&mut self, from: Caller) -> &mut Client {
        let lab = &self.lab;
        self.clients.entry(from).or_insert_with(|| match from {
            Caller::Pod => Client::in_pod(lab, "east/client"),
            Caller::Node => Client::on_node(lab, HERE),
            Caller::Server(pod) => Client::in_pod(lab, &format!("{}/{pod}", cluster_of(pod))),
        })
    }

    /// The address of a pod.
    pub(crate) fn pod(&self, pod: &str, family: Family) -> IpAddr {
        let pod = format!("{}/{pod}", cluster_of(pod));
        address_of(&self.lab.plan().pod(&pod).unwrap().addresses, family)
    }

    /// The address of a node of east.
    pub(crate) fn node(&self, node: &str, family: Family) -> IpAddr {
        let node = self.lab.plan().node("east", node).unwrap();
        address_of(&[node.ipv4.into(), node.ipv6.into()], family)
    }

    /// Leads an address between the nodes to a node of east.
    pub(crate) fn route(&self, ip: IpAddr, node: &str) {
        let net = self.lab.plan().net();
        let device = &self.lab.plan().node("east", node).unwrap().device;
        let family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let via = self.node(node, family);
        let command = format!("-n {net} route replace {ip} via {via} dev {device} onlink");
        let status = Command::new("ip").args(command.split(' ')).status();
        assert!(status.unwrap().success(), "ip {command}");
    }
}

/// What a call shall lead to, for a column of the row.
struct Wish {
    cell: Cell,
    from: Caller,
    call: Call,
    wanted: Wanted,
}

/// A row of the matrix.
pub(crate) struct Row<'a> {
    pub(crate) world: &'a mut World,
    services: Vec<Service>,
    number: u8,
    wishes: Vec<Wish>,
}

impl Row<'_> {
    /// Changes the services, and brings them to both clusters.
    pub(crate) fn apply(&mut self, change: impl FnMut(&mut Service)) {
        self.services.iter_mut().for_each(change);
        let lab = &self.world.lab;
        for cluster in ["east", "west"] {
            let objects = self.services.iter();
            let objects = objects.flat_map(|service| service.objects(lab.plan(), cluster));
            let documents = objects.map(|object| serde_yaml::to_string(&object).unwrap());
            let text = documents.collect::<Vec<_>>().join("---\n");
            let file = format!("row-{}.yaml", self.number);
            if lab.manifest(cluster, &file).ok().as_ref() != Some(&text) {
                lab.write_manifest(cluster, &file, &text).unwrap();
            }
        }
    }

    /// The service whose backends are at a place.
    pub(crate) fn service(&self, place: Place) -> &Service {
        let mut services = self.services.iter();
        services.find(|service| service.place == place).unwrap()
    }

    /// The cluster IP and port for the clients of a column.
    pub(crate) fn frontend(&self, cell: Cell) -> SocketAddr {
        self.service(cell.place).frontend(cell.family)
    }

    /// The node port of a column at a node of east.
    pub(crate) fn node_port(&self, cell: Cell, node: &str) -> SocketAddr {
        let port = self.service(cell.place).node_port();
        SocketAddr::new(self.world.node(node, cell.family), port)
    }

    /// Says what a call shall lead to.
    pub(crate) fn expect(&mut self, cell: Cell, from: Caller, call: Call, wanted: Wanted) {
        self.wishes.push(Wish {
            cell,
            from,
            call,
            wanted,
        });
    }

    /// For each column, by TCP and by UDP: what a call from the pod to the cluster IP shall lead to.
    pub(crate) fn expect_all(&mut self, wanted: impl Fn(Cell) -> Wanted) {
        for cell in Cell::all() {
            for kind in Kind::PROTOCOLS {
                let call = Call::new(kind, self.frontend(cell));
                self.expect(cell, Caller::Pod, call, wanted(cell));
            }
        }
    }

    pub(crate) fn not_claimed(&mut self, place: Place, reason: &'static str) {
        self.world.matrix.not_claimed(place, reason);
    }

    /// Notes a failure of a column, if it is one.
    pub(crate) fn note(&mut self, cell: Cell, result: Result<(), String>) {
        match result {
            Ok(()) => self.world.matrix.pass(cell),
            Err(why) => self.world.matrix.fail(cell, why),
        }
    }

    /// Makes the calls, again and again, until all that is expected has come about, or it is too late for that.
    pub(crate) fn settle(&mut self) {
        let deadline = Instant::now() + SOON;
        let mut wishes = std::mem::take(&mut self.wishes);
        for attempt in 0.. {
            let mut left: Vec<(Wish, String)> = Vec::new();
            let mut by_client: BTreeMap<Caller, Vec<Wish>> = BTreeMap::new();
            for wish in wishes {
                by_client.entry(wish.from).or_default().push(wish);
            }
            for (from, wishes) in by_client {
                let calls: Vec<_> = wishes
                    .iter()
                    .map(|wish| (&wish.call, &wish.wanted))
                    .collect();
                let results = self.world.client(from).try_all(&calls, attempt);
                for (wish, result) in wishes.into_iter().zip(results) {
                    match result {
                        Ok(()) => self.world.matrix.pass(wish.cell),
                        Err(outcomes) => left.push((wish, format!("{outcomes:?}"))),
                    }
                }
            }
            if left.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                for (wish, came) in left {
                    let Wish {
                        cell,
                        from,
                        call,
                        wanted,
                    } = wish;
                    let why = format!("{call:?} from {from:?}: {came}, not {wanted:?}");
                    self.world.matrix.fail(cell, why);
                }
                return;
            }
            wishes = left.into_iter().map(|(wish, _)| wish).collect();
        }
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        assert!(
            std::thread::panicking() || self.wishes.is_empty(),
            "a row that was not settled"
        );
    }
}

/// Two clusters: east with two nodes, west with one, and two pods that serve in each place.
fn topology() -> Topology {
    let cluster = |name: &str, number: u8, nodes: &[&str], pods: Vec<Pod>| Cluster {
        name: name.to_owned(),
        pod_cidrs: [
            format!("10.{number}.0.0/16"),
            format!("fd00:10:{number}::/48"),
        ]
        .map(|cidr| cidr.parse().unwrap())
        .into(),
        service_cidrs: Vec::new(),
        nodes: nodes.iter().map(ToString::to_string).collect(),
        pods,
        manifests: None,
        gateways: 1,
        gateway_args: Vec::new(),
        agent_args: ["--device", "eth0"].map(str::to_owned).into(),
        node_args: BTreeMap::new(),
    };
    let servers = |place: Place, node| place.pods().map(|pod| pod_of(pod, node, true));
    let client = pod_of("client", HERE, false);
    let mut pods = vec![client];
    pods.extend(servers(Place::SameNode, HERE));
    pods.extend(servers(Place::OtherNode, THERE));
    let mut east = cluster("east", 1, &[HERE, THERE], pods);
    // What stands for clients towards other clusters: within the prefix of the node's pods, and no pod's.
    let tunnel = |number: u8| {
        let addresses = format!("10.1.{number}.254,fd00:10:1:{number}::254");
        ["--tunnel-address".to_owned(), addresses].into()
    };
    let nodes = [(HERE.to_owned(), tunnel(1)), (THERE.to_owned(), tunnel(2))];
    east.node_args = nodes.into();
    let west = servers(Place::OtherCluster, HERE).into();
    Topology {
        name: "behaviours".to_owned(),
        clusters: vec![east, cluster("west", 2, &[HERE], west)],
        links: None,
        folder: [env!("CARGO_MANIFEST_DIR"), "tests/behaviours"]
            .iter()
            .collect(),
    }
}

fn pod_of(name: &str, node: &str, serves: bool) -> Pod {
    let port = |name: &str, port, protocol: &str| Port {
        name: name.to_owned(),
        port,
        protocol: protocol.to_owned(),
    };
    let mut pod = Pod {
        name: name.to_owned(),
        namespace: NAMESPACE.to_owned(),
        node: Some(node.to_owned()),
        labels: [("pod".to_owned(), name.to_owned())].into(),
        command: Vec::new(),
        ports: Vec::new(),
    };
    if serves {
        pod.command = ["python3", "server.py"].map(str::to_owned).into();
        pod.ports = vec![
            port("tcp", TCP_TARGET, "TCP"),
            port("ready", crate::service::READY_TARGET, "TCP"),
            port("udp", UDP_TARGET, "UDP"),
        ];
    }
    pod
}

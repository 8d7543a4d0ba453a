//! Datagrams that pass the node do not go on to a backend that is gone.

use std::net::{SocketAddr, UdpSocket};

use node_dp::datapath::Attachment;
use node_dp_common::{BackendValue, FrontendKey};
use node_dp_core::departure::{Departed, Gone};

use crate::{
    devices::{PATIENCE, World, node_ports},
    fixture::{Service, UDP, address, replace},
};

/// A node port as dialled, as planned, its backend in the pod, and its backend elsewhere with the node that this one sees.
const NODE_PORTS: [(&str, &str, &str, &str); 2] = [
    (
        "192.0.2.1:30080",
        "0.0.0.0:30080",
        "10.1.0.1:8080",
        "10.2.0.254",
    ),
    (
        "[fd02::1]:30080",
        "[::]:30080",
        "[fd00:1::1]:8080",
        "fd00:2::254",
    ),
];

#[test]
#[ignore = "needs root"]
fn datagrams_of_one_client_leave_a_backend_that_is_gone() {
    let before = node_ports("10.1.0.1:8080", "[fd00:1::1]:8080");
    let before: Vec<Service> = before.into_iter().map(Service::local).collect();
    let after = node_ports("10.2.0.1:8080", "[fd00:2::1]:8080");
    World::run(Attachment::best(), &before, |world| {
        let mut connections = world.datapath.take_connections().unwrap();
        let clients =
            NODE_PORTS.map(|(dialled, ..)| world.client.run(move || Client::new(dialled)));
        for (client, (.., elsewhere)) in clients.iter().zip(NODE_PORTS) {
            assert_ne!(client.ask().ip().to_string(), elsewhere);
        }
        replace(&mut world.datapath, &after);
        for (client, (.., elsewhere)) in clients.iter().zip(NODE_PORTS) {
            assert_ne!(client.ask().ip().to_string(), elsewhere, "its flow stands");
        }

        let departed = NODE_PORTS.map(|(_, planned, pod, _)| {
            let (planned, pod) = (address(planned), address(pod));
            let frontend = FrontendKey::new(planned.ip(), planned.port(), UDP);
            Departed {
                frontend: frontend.from_outside(),
                backend: BackendValue::new(pod.ip(), pod.port()),
            }
        });
        let gone = Gone {
            backends: departed.into(),
            ..Gone::default()
        };
        let count = connections.forget_flows(&gone).unwrap();

        assert_eq!(count, 2);
        for (client, (.., elsewhere)) in clients.iter().zip(NODE_PORTS) {
            assert_eq!(client.ask().ip().to_string(), elsewhere);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn flows_to_a_cluster_that_is_out_are_forgotten() {
    let east = node_ports("10.1.0.1:8080", "[fd00:1::1]:8080");
    World::run(Attachment::best(), &east, |world| {
        let mut connections = world.datapath.take_connections().unwrap();
        for (dialled, ..) in NODE_PORTS {
            world.answers(dialled);
        }
        let out = |cluster| Gone {
            clusters: [cluster].into(),
            ..Gone::default()
        };

        assert_eq!(connections.forget_flows(&out(1)).unwrap(), 0);
        // TCP and UDP of both families.
        assert_eq!(connections.forget_flows(&out(0)).unwrap(), 4);
        assert_eq!(connections.forget_flows(&out(0)).unwrap(), 0);
    });
}

/// One socket of a host outside.
struct Client(UdpSocket);

impl Client {
    fn new(frontend: &'static str) -> Self {
        let any = if address(frontend).is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(frontend).unwrap();
        Self(socket)
    }

    /// Whom the backend says it sees.
    fn ask(&self) -> SocketAddr {
        self.0.send(b"whom do you see").unwrap();
        let mut buffer = [0; 64];
        let length = self.0.recv(&mut buffer).unwrap();
        address(&String::from_utf8_lossy(&buffer[..length]))
    }
}

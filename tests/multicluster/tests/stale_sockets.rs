//! A client that is connected to another cluster's backend hears at once that the backend, or the cluster, is gone.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    io::{BufRead, BufReader},
    time::Duration,
};

use multicluster::{Direction, Lab, Mode, Options, Target, Topology, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// Connects to the service, by TCP and by UDP, until both are held by west; says so, and then what becomes of each.
const CLIENT: &str = r#"
import json, socket, sys

host, patience = sys.argv[1], 60

def dial(kind, port, question, read):
    while True:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        sock.settimeout(patience)
        sock.connect((host, port))
        sock.sendall(question)
        if json.loads(read(sock))["cluster"] == "west":
            return sock

def page(sock):
    text = b""
    while b"}" not in text:
        text += sock.recv(4096)
    return text[text.index(b"{"):]

tcp = dial(socket.SOCK_STREAM, 80, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n", page)
udp = dial(socket.SOCK_DGRAM, 7, b"hello", lambda sock: sock.recv(4096))
print("held", flush=True)
for name, sock in ("tcp", tcp), ("udp", udp):
    try:
        print(name, "got", sock.recv(4096), flush=True)
    except OSError as error:
        print(name, type(error).__name__, flush=True)
"#;

multicluster::in_both_modes!(
    clients_of_a_withdrawn_backend_hear_of_it_at_once,
    clients_of_a_cluster_that_is_cut_off_hear_of_it_before_their_patience_ends,
);

fn clients_of_a_withdrawn_backend_hear_of_it_at_once(mode: Mode) {
    end_by(mode, "stale", |lab| {
        lab.annotate("west", "web.yaml", "isthmus.io/shared: \"false\"")
            .unwrap();
    });
}

/// Nobody in the other cluster can tell them: their own node does, once it has ruled the cluster down.
fn clients_of_a_cluster_that_is_cut_off_hear_of_it_before_their_patience_ends(mode: Mode) {
    end_by(mode, "stalecut", |lab| {
        lab.cut("east", "west", Direction::Both).unwrap();
    });
}

/// What is held by west ends by what happens to a lab.
fn end_by(mode: Mode, name: &str, happens: impl FnOnce(&Lab)) {
    let topology = Topology::demo().unwrap().named(&mode.lab(name));
    let lab = Lab::up(&topology, &Options::in_mode(mode)).unwrap();
    let agent: Target = "east/n1/agent".parse().unwrap();
    let status = lab.status(&agent).unwrap();
    let chosen = &status["kernel"]["features"]["stale-sockets"]["chosen"];
    assert_eq!(chosen, "destroyed");
    wait_for(SOON, "west's backends at east's node", || {
        let status = lab.status(&agent)?;
        Ok(status["maps"]["backends"]
            .as_u64()
            .filter(|backends| *backends >= 12))
    })
    .unwrap();

    let mut clients = ["10.101.0.10", "fd00:101:1::10"].map(|host| {
        let argv = ["python3", "-c", CLIENT, host];
        let mut client = lab.spawn("east/client", argv).unwrap();
        let said = BufReader::new(client.take_stdout().unwrap()).lines();
        (client, said)
    });
    for (_, said) in &mut clients {
        assert_eq!(said.next().unwrap().unwrap(), "held");
    }
    happens(&lab);

    for (_, said) in clients {
        let said: Vec<String> = said.map(Result::unwrap).collect();
        assert_eq!(
            said,
            ["tcp ConnectionAbortedError", "udp ConnectionAbortedError"]
        );
    }
}

//! Traffic that goes on while endpoints change.

use std::net::SocketAddr;

use multicluster::wait_for;

use crate::{
    client::{Call, Kind, Outcome, Wanted},
    matrix::Cell,
    service::{Endpoint, OTHER_UDP_TARGET, Port, UDP_TARGET},
    world::{Caller, HERE, Row, SOON, THERE, World},
};

/// So many calls show that nothing has failed in a step.
const CALLS: u64 = 30;

pub(crate) fn all(world: &mut World) {
    connected(world);
    cycles(
        world,
        "datagrams of one socket follow the backend, at a cluster IP",
        |row, cell| vec![row.frontend(cell)],
    );
    cycles(
        world,
        "datagrams of one socket follow the backend, at node ports",
        |row, cell| vec![row.node_port(cell, HERE), row.node_port(cell, THERE)],
    );
    becomes_ready(world);
    first_endpoint(world);
    target_port(world);
    rolling(world);
}

/// A socket that is connected keeps its backend until that is gone, and hears of it.
fn connected(world: &mut World) {
    let mut row = world.row("connections outlive a terminating backend, and end with it");
    row.apply(|service| service.endpoints.truncate(1));
    let name = |cell: Cell, kind: Kind| format!("connected-{cell:?}-{kind:?}");
    let expect = |row: &mut Row<'_>, is_open: bool, wanted: &dyn Fn(Cell) -> Wanted| {
        for cell in Cell::all() {
            for kind in Kind::PROTOCOLS {
                let (name, place) = (name(cell, kind), row.frontend(cell));
                let call = if is_open {
                    Call::say(&name, place)
                } else {
                    Call::open(&name, kind, place)
                };
                row.expect(cell, Caller::Pod, call, wanted(cell));
            }
        }
        row.settle();
    };
    let first = |cell: Cell| Wanted::Pods(vec![cell.place.pods()[0]]);
    let second = |cell: Cell| Wanted::Pods(vec![cell.place.pods()[1]]);
    expect(&mut row, false, &first);
    row.apply(|service| {
        let [first, second] = service.place.pods();
        service.endpoints = vec![Endpoint::terminating(first), Endpoint::ready(second)];
    });
    row.expect_all(second);
    row.settle();
    expect(&mut row, true, &first);
    row.apply(|service| drop(service.endpoints.remove(0)));
    expect(&mut row, true, &|_| Wanted::Ended);
    expect(&mut row, false, &second);
}

/// One unconnected socket sends to what changes behind it: first one backend, then both, then the other.
fn cycles(
    world: &mut World,
    behaviour: &'static str,
    places: impl Fn(&Row<'_>, Cell) -> Vec<SocketAddr>,
) {
    let mut row = world.row(behaviour);
    row.apply(|service| {
        service.kind = "NodePort";
        service.endpoints.truncate(1);
    });
    expect_held(&mut row, false, &places, |cell| {
        Wanted::Pods(vec![cell.place.pods()[0]])
    });
    row.apply(|service| {
        let [first, second] = service.place.pods();
        service.endpoints = vec![Endpoint::terminating(first), Endpoint::ready(second)];
    });
    expect_held(&mut row, true, &places, |cell| {
        Wanted::Pods(cell.place.pods().into())
    });
    row.apply(|service| drop(service.endpoints.remove(0)));
    expect_held(&mut row, true, &places, |cell| {
        Wanted::Pods(vec![cell.place.pods()[1]])
    });
    // Back, and as a backend that is not ready goes: without a word.
    row.apply(|service| {
        let [first, second] = service.place.pods();
        service.endpoints = vec![Endpoint::ready(first), Endpoint::unready(second)];
    });
    expect_held(&mut row, true, &places, |cell| {
        Wanted::Pods(vec![cell.place.pods()[0]])
    });
}

/// What one unconnected socket for each place shall hear; it is opened, or is open already.
fn expect_held(
    row: &mut Row<'_>,
    is_open: bool,
    places: impl Fn(&Row<'_>, Cell) -> Vec<SocketAddr>,
    wanted: impl Fn(Cell) -> Wanted,
) {
    for cell in Cell::all() {
        for place in places(row, cell) {
            let name = format!("held-{place}");
            let call = if is_open {
                Call::say(&name, place)
            } else {
                Call::open(&name, Kind::Unconnected, place)
            };
            row.expect(cell, Caller::Pod, call, wanted(cell));
        }
    }
    row.settle();
}

fn becomes_ready(world: &mut World) {
    let mut row = world.row("datagrams reach an endpoint that was not ready at first");
    appears(&mut row, |service_pods| {
        let [pod, _] = service_pods;
        vec![Endpoint::unready(pod)]
    });
}

fn first_endpoint(world: &mut World) {
    let mut row = world.row("datagrams reach the first endpoint of a service");
    appears(&mut row, |_| Vec::new());
}

/// A client that has been refused goes on by the same socket, at the cluster IP and at node ports.
fn appears(row: &mut Row<'_>, before: impl Fn([&'static str; 2]) -> Vec<Endpoint>) {
    let places = |row: &Row<'_>, cell: Cell| {
        let here = row.node_port(cell, HERE);
        vec![row.frontend(cell), here, row.node_port(cell, THERE)]
    };
    row.apply(|service| {
        service.kind = "NodePort";
        service.endpoints.truncate(1);
    });
    expect_held(row, false, places, |cell| {
        Wanted::Pods(vec![cell.place.pods()[0]])
    });
    row.apply(|service| service.endpoints = before(service.place.pods()));
    expect_held(row, true, places, |_| Wanted::Nobody);
    row.apply(|service| {
        let [_, pod] = service.place.pods();
        service.endpoints = vec![Endpoint::ready(pod)];
    });
    expect_held(row, true, places, |cell| {
        Wanted::Pods(vec![cell.place.pods()[1]])
    });
}

fn target_port(world: &mut World) {
    let mut row = world.row("datagrams follow a targetPort that changes");
    let places = |row: &Row<'_>, cell: Cell| vec![row.frontend(cell), row.node_port(cell, THERE)];
    let mut is_open = false;
    for target in [UDP_TARGET, OTHER_UDP_TARGET] {
        row.apply(|service| {
            service.kind = "NodePort";
            service.endpoints.truncate(1);
            service.ports = vec![Port {
                target,
                ..Port::udp()
            }];
        });
        expect_held(&mut row, is_open, places, |cell| {
            Wanted::At(cell.place.pods()[0], target)
        });
        is_open = true;
    }
}

/// What endpoints the two pods of a place make in a step.
type Step = fn([&'static str; 2]) -> Vec<Endpoint>;

/// An endpoint is replaced as a Deployment does it, under steady new connections.
fn rolling(world: &mut World) {
    let mut row = world.row("a rolling update fails no new connection");
    row.apply(|service| {
        service.kind = "NodePort";
        service.endpoints.truncate(1);
    });
    let places = |row: &Row<'_>, cell: Cell| vec![row.frontend(cell), row.node_port(cell, THERE)];
    for cell in Cell::all() {
        for place in places(&row, cell) {
            let wanted = Wanted::Pods(vec![cell.place.pods()[0]]);
            row.expect(cell, Caller::Pod, Call::new(Kind::Tcp, place), wanted);
        }
    }
    row.settle();
    let name = |place: SocketAddr| format!("rolling-{place}");
    let all: Vec<(Cell, SocketAddr)> = Cell::all()
        .flat_map(|cell| {
            places(&row, cell)
                .into_iter()
                .map(move |place| (cell, place))
        })
        .collect();
    let calls = |make: fn(&str, SocketAddr) -> Call| -> Vec<Call> {
        all.iter()
            .map(|(_, place)| make(&name(*place), *place))
            .collect()
    };
    row.world.client(Caller::Pod).make(&calls(Call::traffic));
    let steps: [Step; 4] = [
        |[first, _]| vec![Endpoint::ready(first)],
        |[first, second]| vec![Endpoint::ready(first), Endpoint::ready(second)],
        |[first, second]| vec![Endpoint::terminating(first), Endpoint::ready(second)],
        |[_, second]| vec![Endpoint::ready(second)],
    ];
    for step in steps {
        row.apply(|service| service.endpoints = step(service.place.pods()));
        go_on(&mut row, &calls(Call::count));
    }
    let outcomes = row.world.client(Caller::Pod).make(&calls(Call::stop));
    for ((cell, _), outcome) in all.iter().zip(outcomes) {
        let is_fine = matches!(&outcome, Outcome::Count(_, failed) if failed.is_empty());
        let result = if is_fine {
            Ok(())
        } else {
            Err(format!("{outcome:?}"))
        };
        row.note(*cell, result);
    }
}

/// Waits until all traffic has come further.
fn go_on(row: &mut Row<'_>, counts: &[Call]) {
    let client = row.world.client(Caller::Pod);
    let so_far = |client: &mut crate::client::Client| -> Vec<u64> {
        let outcomes = client.make(counts).into_iter();
        let counts = outcomes.map(|outcome| match outcome {
            Outcome::Count(succeeded, _) => succeeded,
            Outcome::Answer { .. } | Outcome::Error(..) => 0,
        });
        counts.collect()
    };
    let before = so_far(client);
    // Traffic that stands still is told by its failures.
    drop(wait_for(SOON, "the traffic to go on", || {
        let now = so_far(client);
        let has_all = now
            .iter()
            .zip(&before)
            .all(|(now, then)| now - then >= CALLS);
        Ok(has_all.then_some(()))
    }));
}

//! Clients that stay with their endpoint.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use multicluster::wait_until;
use serde_json::json;

use crate::{
    client::{Call, Kind, Outcome, Wanted},
    matrix::Cell,
    service::Service,
    world::{Caller, HERE, Row, SOON, THERE, World},
};

/// Seconds for which clients stay; the least that there is.
const TIMEOUT: u32 = 1;

/// After so long a client has been away for longer than that.
const AWAY: Duration = Duration::from_millis(1_100);

pub(crate) fn all(world: &mut World) {
    switched(
        world,
        "session affinity at a cluster IP, on and off",
        |row, cell| vec![row.frontend(cell)],
    );
    switched(
        world,
        "session affinity at node ports, on and off",
        |row, cell| vec![row.node_port(cell, HERE), row.node_port(cell, THERE)],
    );
    timeout(world);
}

fn switched(
    world: &mut World,
    behaviour: &'static str,
    places: impl Fn(&Row<'_>, Cell) -> Vec<SocketAddr>,
) {
    let mut row = world.row(behaviour);
    for is_on in [true, false, true] {
        row.apply(|service| {
            service.kind = "NodePort";
            stay(service, is_on.then_some(10_800));
        });
        let wanted = |pods: [&'static str; 2]| match is_on {
            true => Wanted::OneOf(pods.into()),
            false => Wanted::Pods(pods.into()),
        };
        for cell in Cell::all() {
            for place in places(&row, cell) {
                for kind in Kind::PROTOCOLS {
                    let call = Call::new(kind, place);
                    row.expect(cell, Caller::Pod, call, wanted(cell.place.pods()));
                }
            }
        }
        row.settle();
    }
}

/// A client that comes back after the timeout may get the same endpoint again, but not for ever.
fn timeout(world: &mut World) {
    let mut row = world.row("session affinity ends with its timeout");
    row.apply(|service| stay(service, Some(TIMEOUT)));
    row.expect_all(|cell| Wanted::OneOf(cell.place.pods().into()));
    row.settle();
    let mut first: BTreeMap<Cell, String> = BTreeMap::new();
    let mut waiting: Vec<Cell> = Cell::all().collect();
    let rounds = SOON.as_millis() / AWAY.as_millis();
    for _ in 0..rounds {
        let calls = waiting
            .iter()
            .map(|cell| Call::new(Kind::Tcp, row.frontend(*cell)));
        let calls: Vec<Call> = calls.collect();
        let outcomes = row.world.client(Caller::Pod).make(&calls);
        let mut left = Vec::new();
        for (cell, outcome) in waiting.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Answer { pod, .. } => {
                    let former = first.entry(cell).or_insert_with(|| pod.clone());
                    if *former == pod {
                        left.push(cell);
                    } else {
                        row.note(cell, Ok(()));
                    }
                }
                other @ (Outcome::Error(..) | Outcome::Count(..)) => {
                    row.note(cell, Err(format!("{other:?}")));
                }
            }
        }
        waiting = left;
        if waiting.is_empty() {
            break;
        }
        let asked = Instant::now();
        let what = "the client has been away for longer than it is kept";
        wait_until(SOON, what, || Ok(asked.elapsed() > AWAY)).unwrap();
    }
    for cell in waiting {
        row.note(
            cell,
            Err(format!("{} in each of {rounds} rounds", first[&cell])),
        );
    }
}

fn stay(service: &mut Service, seconds: Option<u32>) {
    service.spec.clear();
    if let Some(seconds) = seconds {
        let config = json!({"clientIP": {"timeoutSeconds": seconds}});
        service.spec.insert("sessionAffinity", json!("ClientIP"));
        service.spec.insert("sessionAffinityConfig", config);
    }
}

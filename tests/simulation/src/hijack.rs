//! The hijack matrix: what a hostile peer with a valid certificate may say, and by which rule it does not get through.

mod lies;

use std::{fmt::Write, time::Duration};

use cluster_registry::{
    digest::KeyRange,
    import::{Grants, Namespaces},
    link::LinkSpec,
    mcs::Export,
    name::Namespace,
    resource::{Resource, ResourceId},
    service::{ClusterAffinity, Service, Sharing, Timestamp},
};
use mesh_gateway_core::{reason::GoodbyeReason, session::Delivery};

use crate::{
    drive::Event,
    gateway::{Order, Report, instance_of},
    scenery::{self, cluster_name},
    victim::{HONEST, HOSTILE, NOW, OWN, Victim},
};

use lies::Lie;

const SHARED: Sharing = Sharing {
    global: true,
    shared: true,
    affinity: ClusterAffinity::None,
};

/// How one lie fared.
struct Outcome {
    lie: Lie,
    /// As what it was refused.
    refused: Vec<&'static str>,
    /// Whether it changed anything that this cluster sees.
    has_effect: bool,
    /// Whether the session went on.
    is_up: bool,
}

/// Tells every lie to a gateway of its own; returns the table of what became of them, or the lies that got through.
pub fn matrix() -> Result<String, String> {
    let outcomes: Vec<Outcome> = lies::all().into_iter().map(tell).collect();
    let failed: Vec<String> = outcomes.iter().filter_map(Outcome::failure).collect();
    if !failed.is_empty() {
        return Err(failed.join("\n"));
    }
    let mut table =
        String::from("| a hostile peer announces | refused as | rule |\n|---|---|---|\n");
    for Outcome { lie, .. } in &outcomes {
        // Writing to a string does not fail.
        writeln!(table, "| {} | `{}` | {} |", lie.says, lie.refused, lie.rule).ok();
    }
    antedate()?;
    table.push_str(
        "| an export made in 1970, to win every conflict | taken, as made when first seen | a link that does not say so \
         lends no belief to timestamps |\n",
    );
    speak_from_the_grave()?;
    table.push_str(
        "| anything, as an older life of a gateway that is connected | closed, as `older_incarnation` | a newer life of a \
         gateway ends an older one, never the reverse |\n",
    );
    Ok(table)
}

impl Outcome {
    fn failure(&self) -> Option<String> {
        let Self {
            lie,
            refused,
            has_effect,
            is_up,
        } = self;
        let is_refused = *refused == [lie.refused] && !has_effect && *is_up;
        let Lie {
            says,
            refused: must,
            ..
        } = lie;
        (!is_refused).then(|| {
            format!("{says}: refused as {refused:?}, must be {must}; effect: {has_effect}, session up: {is_up}")
        })
    }
}

fn tell(lie: Lie) -> Outcome {
    let mut link = LinkSpec::new(cluster_name(HOSTILE));
    if lie.is_restricted {
        link.grants = restricted();
    }
    let mut victim = settled(link);
    let before = victim.picture();
    let (id, value) = lie.what.clone();
    victim.announce(lie.of, id, Some(value));
    victim.end_snapshot();
    Outcome {
        has_effect: victim.picture() != before,
        refused: std::mem::take(&mut victim.refused),
        is_up: victim.ended.is_none(),
        lie,
    }
}

/// A victim with a node, a tunnel, services and endpoints, and an honest peer with a node and a tunnel.
fn settled(link: LinkSpec) -> Victim {
    let mut victim = Victim::new(link);
    let (_, database) = scenery::endpoint(OWN, 1, 0, 1);
    let at = ResourceId::Endpoint(scenery::service_name(1), [10, 50, 0, 9].into());
    for (id, value) in [
        scenery::node(OWN, 0, 1),
        scenery::tunnel(OWN, 0, 1),
        scenery::service(0, SHARED, 1),
        scenery::endpoint(OWN, 0, 0, 1),
        scenery::service(1, SHARED, 1),
        (at, database),
    ] {
        victim.have(&id, value);
    }
    for (id, value) in [scenery::node(HONEST, 0, 1), scenery::tunnel(HONEST, 0, 1)] {
        victim.honest_says(id, value);
    }
    victim
}

/// An export that claims to be the oldest of all does not win over one that was there before.
fn antedate() -> Result<(), String> {
    let mut victim = settled(LinkSpec::new(cluster_name(HOSTILE)));
    let exported = |created: Timestamp| {
        let (id, value) = scenery::service(0, Sharing::default(), 7);
        let Resource::Service(service) = value else {
            return (id, value);
        };
        let mut service = Service::clone(&service);
        service.export = Some(Box::new(Export {
            created,
            ..Export::default()
        }));
        (id, Resource::from(service))
    };
    let (id, own) = exported(Timestamp(NOW.0 - 60));
    victim.have(&id, own);
    let (id, theirs) = exported(Timestamp(1));
    victim.announce(HOSTILE, id, Some(theirs));
    victim.end_snapshot();
    let view = victim.gateway.registry.view();
    let service = view.services.get(&scenery::service_name(0));
    let import = service.and_then(|service| service.import.as_ref());
    match import.map(|import| (&import.oldest.cluster, import.clusters.len())) {
        Some((oldest, 2)) if *oldest == cluster_name(OWN) => Ok(()),
        other => Err(format!("an antedated export wins: {other:?}")),
    }
}

/// The session of an older life of a gateway is closed, and what it says does not count.
fn speak_from_the_grave() -> Result<(), String> {
    let mut victim = settled(LinkSpec::new(cluster_name(HOSTILE)));
    let before = victim.picture();
    let now = victim.gateway.clock.at(Duration::ZERO);
    let up = |life| Event::Up {
        instance: Some(instance_of(0, life)),
    };
    let everything = [
        Delivery::SnapshotBegin(vec![KeyRange::default()]),
        Delivery::SnapshotEnd,
    ];
    let said = everything
        .into_iter()
        .map(|delivery| (3, Event::Delivery(delivery)));
    for (session, event) in [(1, up(5)), (3, up(4))].into_iter().chain(said) {
        victim.gateway.reports.push_back(Report {
            session,
            peer: cluster_name(HOSTILE),
            event,
        });
    }
    let mut facts = Vec::new();
    while let Some((_, found)) = victim.gateway.take_report(now) {
        facts.extend(found);
    }
    let is_closed = matches!(
        victim.gateway.orders[..],
        [
            Order::Subscribe(1),
            Order::Close(3, GoodbyeReason::OlderIncarnation)
        ]
    );
    if facts.is_empty() && is_closed && victim.picture() == before {
        return Ok(());
    }
    let orders = &victim.gateway.orders;
    Err(format!("an older life was heard: {facts:?}, {orders:?}"))
}

fn restricted() -> Grants {
    let shop = Namespace::parse("shop").expect("it is a name");
    Grants {
        namespaces: Namespaces::Only([shop].into()),
        cidrs: vec![scenery::cluster_range(HOSTILE)],
    }
}

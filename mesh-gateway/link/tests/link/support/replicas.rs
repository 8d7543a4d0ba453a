//! Several gateways of one cluster, and what their peer makes of them.

use std::net::SocketAddr;

use certs::identity::SpiffeId;
use mesh_gateway_core::replicas::Dialled;
use mesh_link::{
    event::{PeerEvent, Report, SessionId},
    listen::{Grant, Listener, Subscribes},
    resume::Resume,
    seat::Seat,
    settings::{Settings, start_instance},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Publisher};

/// One of west's gateways.
pub(crate) fn replica(
    settings: &Settings,
    west: &Publisher,
    stop: &CancellationToken,
) -> SocketAddr {
    let grant = Grant {
        feed: west.feed.clone(),
        resume: Resume::default(),
        subscribes: Subscribes::Later,
        compares: false,
        // What its peer has is not asked for.
        events: drained(),
    };
    let authorise = move |_: &SpiffeId, _| Ok(grant.clone());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        instance: start_instance(&format!("west-{}", SessionId::next())).unwrap(),
        ..settings.clone()
    };
    let listener = Listener::bind(any, settings, authorise).unwrap();
    let address = listener.local_address().unwrap();
    tokio::spawn(listener.run(stop.clone()));
    address
}

fn drained() -> mpsc::Sender<Report> {
    let (events, mut reports) = mpsc::channel(16);
    tokio::spawn(async move { while reports.recv().await.is_some() {} });
    events
}

/// Takes reports until something is so; notes which sessions have told a service.
pub(crate) async fn until_told(
    reports: &mut mpsc::Receiver<Report>,
    seat: &mut Seat,
    told: &mut Vec<SessionId>,
    is_so: impl Fn(&Seat, &[SessionId]) -> bool,
) {
    let waited = timeout(PATIENCE, async {
        while !is_so(seat, told) {
            let Report { session, event, .. } = reports.recv().await.unwrap();
            match event {
                PeerEvent::Up {
                    address,
                    instance,
                    handle,
                    ..
                } => {
                    seat.take(session, (instance, Dialled::Here), address, handle);
                }
                PeerEvent::Down { .. } => {
                    seat.leave(session);
                }
                PeerEvent::Updates(updates) if !updates.is_empty() => {
                    assert!(seat.is_led_by(session));
                    told.push(session);
                }
                PeerEvent::Subscribed { .. }
                | PeerEvent::Compare { .. }
                | PeerEvent::SnapshotBegin(_)
                | PeerEvent::Updates(_)
                | PeerEvent::SnapshotEnd
                | PeerEvent::Progress(_)
                | PeerEvent::Slowed(_)
                | PeerEvent::Rtt(_)
                | PeerEvent::Refused(_)
                | PeerEvent::Unreachable { .. } => {}
            }
        }
    });
    waited.await.expect("the replicas");
}

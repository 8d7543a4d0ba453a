//! A session of a peer that the test plays.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use certs::identity::SpiffeId;
use cluster_registry::{digest::KeyRange, resource::Key, store::Cursor};
use mesh_gateway_core::instance::Instance;
use mesh_link::{
    event::{
        DownReason, GoodbyeReason, Orders, PeerEvent, Report, SessionHandle, SessionId, Update,
    },
    feed::Feed,
};
use tokio::{sync::watch, time::timeout};

use super::{PATIENCE, World};
use crate::hub::tests::resources::Said;

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4700);

/// A session that has not come up.
pub(in crate::hub::tests) struct Opening {
    pub(super) peer: Peer,
    pub(super) handle: SessionHandle,
    pub(super) instance: Option<Instance>,
}

impl Opening {
    /// The process that the peer says it is.
    pub(in crate::hub::tests) fn with(self, instance: Instance) -> Self {
        Self {
            instance: Some(instance),
            ..self
        }
    }

    /// It comes up, and is asked for nothing yet.
    pub(in crate::hub::tests) async fn rise(self, world: &World) -> Peer {
        world
            .report(self.peer.report(up(self.handle, self.instance)))
            .await;
        self.peer
    }

    /// It comes up, and what it has is asked for.
    pub(in crate::hub::tests) async fn come_up(self, world: &mut World, resumed: bool) -> Peer {
        let peer = self.rise(world).await;
        world
            .report(peer.report(PeerEvent::Subscribed { resumed }))
            .await;
        peer
    }
}

/// A session of a peer.
pub(in crate::hub::tests) struct Peer {
    pub(super) session: SessionId,
    pub(super) id: Arc<SpiffeId>,
    pub(in crate::hub::tests) feed: Feed,
    pub(super) orders: watch::Receiver<Orders>,
}

impl std::ops::Deref for Opening {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Peer {
    /// Says all that the peer has.
    pub(in crate::hub::tests) async fn say<const N: usize>(
        &mut self,
        world: &mut World,
        said: [Said; N],
    ) {
        self.begin(world, said).await;
        world.report(self.report(PeerEvent::SnapshotEnd)).await;
    }

    /// Says up to where all was said.
    pub(in crate::hub::tests) async fn progress(&self, world: &mut World, cursor: Cursor) {
        world.report(self.report(PeerEvent::Progress(cursor))).await;
    }

    /// Begins to say all that the peer has.
    pub(in crate::hub::tests) async fn begin<const N: usize>(
        &mut self,
        world: &mut World,
        said: [Said; N],
    ) {
        let updates = said.map(|(id, value)| Update {
            key: Key {
                cluster: self.id.cluster.clone(),
                id,
            },
            value: Some(value),
            trace: None,
        });
        world
            .report(self.report(PeerEvent::SnapshotBegin(vec![KeyRange::default()])))
            .await;
        let updates = PeerEvent::Updates(updates.into());
        world.report(self.report(updates)).await;
    }

    /// Why the hub ended the session, once it did.
    pub(in crate::hub::tests) async fn closed(&mut self) -> GoodbyeReason {
        let reason = timeout(
            PATIENCE,
            self.orders.wait_for(|orders| orders.close.is_some()),
        )
        .await;
        reason.expect("the session's end").unwrap().close.unwrap()
    }

    /// It is closed, and ends; gives the reason.
    pub(in crate::hub::tests) async fn end(&mut self, world: &World) -> GoodbyeReason {
        let reason = self.closed().await;
        let down = PeerEvent::Down {
            reason: DownReason::EndedHere(reason),
        };
        world.report(self.report(down)).await;
        reason
    }

    /// It ends, as nothing is heard of the peer.
    pub(in crate::hub::tests) async fn fall_silent(&self, world: &World) {
        let reason = DownReason::Silent;
        world.report(self.report(PeerEvent::Down { reason })).await;
    }

    /// Whether it has been asked for what it has.
    pub(in crate::hub::tests) fn is_subscribed(&self) -> bool {
        self.orders.borrow().subscribe
    }

    pub(in crate::hub::tests) fn is_closed(&self) -> bool {
        self.orders.borrow().close.is_some()
    }

    pub(in crate::hub::tests) fn report(&self, event: PeerEvent) -> Report {
        Report {
            session: self.session,
            peer: Arc::clone(&self.id),
            event,
        }
    }
}

fn up(handle: SessionHandle, instance: Option<Instance>) -> PeerEvent {
    PeerEvent::Up {
        address: ADDRESS,
        resumed: false,
        instance,
        certificate_expires: SystemTime::now(),
        handle,
    }
}

//! Runs one session over one connection: moves what the session says, and decides nothing itself.

use std::{
    collections::VecDeque, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::SystemTime,
};

use certs::identity::{Role, SpiffeId};
use cluster_registry::store::{Batch, Cursor, ResumeError};
use mesh_gateway_core::{
    convert::Origins,
    instance::Instance,
    limits::FETCH_LIMIT,
    reason::{DownReason, GoodbyeReason, Violation},
    session::{Channel, Config, Delivery, Output, Session, Subscription},
};
use quinn::{Chunk, Connection, ReadError, RecvStream, VarInt, WriteError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    event::{Orders, PeerEvent, Report, SessionHandle, SessionId},
    feed::{Feed, FetchRequest},
    listen::{Grant, Subscribes},
    resume::{Resume, ResumeWriter},
    settings::Settings,
    streams::{Incoming, Streams, report_loss, report_read_error, report_write_error},
};

/// While more than this waits to be written, the store is not asked for more.
const STATE_HIGH_WATER_BYTES: usize = 256 * 1024;

/// An answer of the store on its way; `None` when its owner is gone.
type Answer = Pin<Box<dyn Future<Output = Option<Result<Batch, ResumeError>>> + Send>>;

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// When it came up, if it did.
    pub(crate) up_since: Option<Instant>,
    /// Why it ended.
    pub(crate) reason: DownReason,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) session: SessionId,
    pub(crate) id: Arc<SpiffeId>,
    pub(crate) address: SocketAddr,
    /// Until when its certificate counts.
    pub(crate) expires: SystemTime,
}

/// One session over one connection; ends when the session does or the receiver of its events is gone.
pub(crate) struct Drive {
    peer: Peer,
    connection: Connection,
    streams: Streams,
    state_in: Option<Incoming>,
    session: Session,
    feed: Feed,
    wanted: Option<Option<Cursor>>,
    answer: Option<Answer>,
    resume: Resume,
    /// The right to move the position, once the peer's state was asked for.
    resume_writer: Option<ResumeWriter>,
    events: mpsc::Sender<Report>,
    waiting: VecDeque<PeerEvent>,
    handle: SessionHandle,
    orders: watch::Receiver<Orders>,
    up_since: Option<Instant>,
    is_up_reported: bool,
}

enum Input {
    Control(Result<Option<Chunk>, ReadError>),
    State(Result<Option<Chunk>, ReadError>),
    StateStream(Result<RecvStream, quinn::ConnectionError>),
    Written(Result<(), WriteError>),
    Answer(Option<Result<Batch, ResumeError>>),
    Newest(Cursor),
    Close(GoodbyeReason),
    Ordered,
    Passed,
    OwnerGone,
    Timeout,
}

impl Drive {
    pub(crate) fn new(
        settings: &Settings,
        peer: Peer,
        connection: Connection,
        streams: Streams,
        grant: Grant,
    ) -> Self {
        let (subscription, resume_writer) = match grant.subscribes {
            Subscribes::Now => {
                let (cursor, writer) = grant.resume.begin();
                (Subscription::Now(cursor), Some(writer))
            }
            Subscribes::Later => (Subscription::Later, None),
        };
        let config = Config {
            cluster: settings.cluster.clone(),
            instance: settings.instance.clone(),
            peer: peer.id.cluster.clone(),
            origins: origins(settings, &peer.id),
            heartbeat_interval: settings.heartbeat_interval,
            detect_multiplier: settings.detect_multiplier,
            subscription,
        };
        let (handle, orders) = SessionHandle::new();
        let mut feed = grant.feed;
        feed.newest.mark_unchanged();
        Self {
            peer,
            connection,
            streams,
            state_in: None,
            session: Session::new(config, Instant::now().into_std()),
            feed,
            wanted: None,
            answer: None,
            resume: grant.resume,
            resume_writer,
            events: grant.events,
            waiting: VecDeque::new(),
            handle,
            orders,
            up_since: None,
            is_up_reported: false,
        }
    }

    /// Runs until the session has ended.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Ended {
        let reason = loop {
            if let Some(reason) = self.perform_outputs() {
                break reason;
            }
            self.ask_store();
            let input = self.next_input(shutdown).await;
            self.take(input);
        };
        self.say_down(&reason).await;
        Ended {
            up_since: self.up_since,
            reason,
        }
    }

    fn perform_outputs(&mut self) -> Option<DownReason> {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(Channel::Control, body) => self.streams.control_out.push(body),
                Output::Send(Channel::State, body) => self.streams.state_out.push(body),
                Output::Fetch { after } => self.wanted = Some(after),
                Output::Up { resumed, instance } => self.come_up(resumed, instance),
                Output::Subscribed { resumed } => {
                    self.waiting.push_back(PeerEvent::Subscribed { resumed });
                }
                Output::Deliver(delivery) => self.waiting.push_back(event_of(delivery)),
                Output::Refused(refusal) => self.waiting.push_back(PeerEvent::Refused(refusal)),
                Output::Rtt(rtt) => self.waiting.push_back(PeerEvent::Rtt(rtt)),
                Output::LeftOut { key, length } => {
                    warn!(?key, length, "resource is too long to be announced");
                }
                Output::Close(reason) => self
                    .connection
                    .close(VarInt::from_u32(reason.code()), reason.label().as_bytes()),
                Output::Down(reason) => return Some(reason),
            }
        }
        None
    }

    /// Asks the store for what the session wants, unless what it already gave still waits to be written.
    fn ask_store(&mut self) {
        let waiting = self.streams.state_out.waiting_bytes();
        if self.answer.is_some() || waiting > STATE_HIGH_WATER_BYTES {
            return;
        }
        let Some(after) = self.wanted.take() else {
            return;
        };
        let requests = self.feed.requests.clone();
        let epoch = self.feed.epoch();
        self.answer = Some(Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let request = FetchRequest {
                epoch,
                after,
                limit: FETCH_LIMIT,
                reply,
            };
            requests.send(request).await.ok()?;
            answer.await.ok()
        }));
    }

    /// Waits for whatever comes first; in this order, so that the peer is heard before it is called silent.
    async fn next_input(&mut self, shutdown: &CancellationToken) -> Input {
        let deadline = self
            .session
            .poll_timeout()
            .map_or_else(Instant::now, Instant::from_std);
        let may_read_state = self.session.may_read_state() && self.waiting.is_empty();
        let Streams {
            control_out,
            control_in,
            state_out,
        } = &mut self.streams;
        let (has_control, has_state) = (
            control_out.waiting_bytes() > 0,
            state_out.waiting_bytes() > 0,
        );
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Input::Close(GoodbyeReason::ShuttingDown),
            Ok(()) = self.orders.changed() => Input::Ordered,
            chunk = control_in.read() => Input::Control(chunk),
            written = control_out.write(), if has_control => Input::Written(written),
            () = sleep_until(deadline) => Input::Timeout,
            permit = self.events.reserve(), if !self.waiting.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(event) = self.waiting.pop_front() {
                        note_passed(&event, self.resume_writer.as_ref(), &mut self.is_up_reported);
                        permit.send(self.peer.report(event));
                    }
                    Input::Passed
                }
                Err(mpsc::error::SendError(())) => Input::OwnerGone,
            },
            answer = async { self.answer.as_mut()?.await }, if self.answer.is_some() => Input::Answer(answer),
            written = state_out.write(), if has_state => Input::Written(written),
            changed = self.feed.newest.changed() => match changed {
                Ok(()) => Input::Newest(*self.feed.newest.borrow_and_update()),
                Err(_gone) => Input::OwnerGone,
            },
            chunk = read_state(self.state_in.as_mut()), if may_read_state && self.state_in.is_some() => Input::State(chunk),
            stream = self.connection.accept_uni(), if self.state_in.is_none() => Input::StateStream(stream),
        }
    }

    fn take(&mut self, input: Input) {
        let session = &mut self.session;
        match input {
            Input::Control(Ok(Some(chunk))) => {
                self.streams
                    .control_in
                    .feed(&chunk, Channel::Control, session);
            }
            Input::State(Ok(Some(chunk))) => {
                if let Some(state_in) = &mut self.state_in {
                    state_in.feed(&chunk, Channel::State, session);
                }
            }
            Input::Control(Ok(None)) | Input::State(Ok(None)) => {
                session.handle_violation(Violation::BadStream);
            }
            Input::Control(Err(error)) | Input::State(Err(error)) => {
                report_read_error(&error, session);
            }
            Input::StateStream(Ok(stream)) => self.state_in = Some(Incoming::new(stream)),
            Input::StateStream(Err(error)) => report_loss(&error, session),
            Input::Written(Ok(())) | Input::Passed => {}
            Input::Written(Err(error)) => report_write_error(&error, session),
            Input::Answer(Some(answer)) => {
                self.answer = None;
                session.handle_batch(answer);
            }
            Input::Newest(newest) => session.handle_newest(newest),
            Input::Close(reason) => session.handle_shutdown(reason),
            Input::Ordered => self.obey(),
            Input::Answer(None) | Input::OwnerGone => {
                session.handle_shutdown(GoodbyeReason::ShuttingDown);
            }
            Input::Timeout => session.handle_timeout(Instant::now().into_std()),
        }
    }

    fn obey(&mut self) {
        let orders = *self.orders.borrow_and_update();
        if let Some(reason) = orders.close {
            self.session.handle_shutdown(reason);
        } else if orders.subscribe && self.resume_writer.is_none() {
            let (cursor, writer) = self.resume.begin();
            self.resume_writer = Some(writer);
            self.session.handle_subscribe(cursor);
        }
    }

    fn come_up(&mut self, resumed: bool, instance: Option<Instance>) {
        let Peer {
            session,
            id,
            address,
            expires,
        } = &self.peer;
        let replica = instance.as_ref().map(Instance::replica);
        info!(%session, peer = %id, replica, %address, resumed, "session is up");
        self.up_since = Some(Instant::now());
        self.waiting.push_back(PeerEvent::Up {
            address: *address,
            instance,
            resumed,
            certificate_expires: *expires,
            handle: self.handle.clone(),
        });
    }

    /// What still waits is dropped: it was not counted as progress, so the next session says it again.
    async fn say_down(&mut self, reason: &DownReason) {
        let Peer { session, id, .. } = &self.peer;
        if self.up_since.is_some() {
            info!(%session, peer = %id, %reason, "session is down");
        } else {
            debug!(%session, peer = %id, %reason, "session did not come up");
        }
        if self.is_up_reported {
            let reason = reason.clone();
            let report = self.peer.report(PeerEvent::Down { reason });
            // Without an owner there is nobody to tell.
            drop(self.events.send(report).await);
        }
    }
}

impl Peer {
    pub(crate) fn report(&self, event: PeerEvent) -> Report {
        Report {
            session: self.session,
            peer: Arc::clone(&self.id),
            event,
        }
    }
}

/// A gateway relays other clusters' resources to its own cluster's nodes, and to nobody else.
fn origins(settings: &Settings, peer: &SpiffeId) -> Origins {
    let is_own_gateway = peer.cluster == settings.cluster && peer.role == Role::Gateway;
    if settings.is_node && is_own_gateway {
        Origins::Any
    } else {
        Origins::Own
    }
}

fn event_of(delivery: Delivery) -> PeerEvent {
    match delivery {
        Delivery::SnapshotBegin => PeerEvent::SnapshotBegin,
        Delivery::Updates(updates) => PeerEvent::Updates(updates),
        Delivery::SnapshotEnd => PeerEvent::SnapshotEnd,
        Delivery::Progress(cursor) => PeerEvent::Progress(cursor),
    }
}

/// Moves the resume position with what the owner is about to get.
fn note_passed(event: &PeerEvent, resume: Option<&ResumeWriter>, is_up_reported: &mut bool) {
    let note = |delivery: &Delivery| resume.into_iter().for_each(|r| r.note(delivery));
    match event {
        PeerEvent::Up { .. } => *is_up_reported = true,
        PeerEvent::SnapshotBegin => note(&Delivery::SnapshotBegin),
        PeerEvent::Progress(cursor) => note(&Delivery::Progress(*cursor)),
        PeerEvent::Subscribed { .. }
        | PeerEvent::Updates(_)
        | PeerEvent::SnapshotEnd
        | PeerEvent::Rtt(_)
        | PeerEvent::Refused(_)
        | PeerEvent::Down { .. }
        | PeerEvent::Unreachable { .. } => {}
    }
}

async fn read_state(stream: Option<&mut Incoming>) -> Result<Option<Chunk>, ReadError> {
    match stream {
        Some(stream) => stream.read().await,
        None => std::future::pending().await,
    }
}

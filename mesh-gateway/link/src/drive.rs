//! Runs one session over one connection: moves what the session says, and decides nothing itself.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::SystemTime};

use certs::identity::{Role, SpiffeId};
use cluster_registry::{
    digest::{KeyRange, Step},
    store::Cursor,
};
use mesh_gateway_core::{
    convert::Origins,
    instance::Instance,
    question::Answer,
    reason::{DownReason, GoodbyeReason, Violation},
    session::{Channel, Config, Delivery, Features, Half, Output, Session, Subscription},
};
use quinn::{Connection, VarInt};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    asking::{Questions, step_of},
    event::{Orders, PeerEvent, Report, SessionHandle, SessionId},
    feed::Feed,
    listen::{Grant, Subscribes},
    resume::{Resume, ResumeWriter},
    settings::Settings,
    streams::{StreamEvent, Streams, report_loss, report_read_error, report_write_error},
};

/// While more than this of a half waits to be written, the store is not asked for more of it.
const HIGH_WATER_BYTES: usize = 256 * 1024;

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
    session: Session,
    feed: Feed,
    live: Questions,
    bulk: Questions,
    /// Where the owner of what is known of the peer answers a comparison.
    compared: Option<mpsc::Receiver<Step>>,
    resume: Resume,
    /// Whether the owner of the events compares what it holds.
    compares: bool,
    /// The right to move the position, once the peer's state was asked for.
    resume_writer: Option<ResumeWriter>,
    events: mpsc::Sender<Report>,
    waiting: VecDeque<PeerEvent>,
    handle: SessionHandle,
    orders: watch::Receiver<Orders>,
    up_since: Option<Instant>,
    /// Told when the session is up.
    up: Option<oneshot::Sender<()>>,
    is_up_reported: bool,
}

enum Input {
    Stream(StreamEvent),
    Answer(Option<Answer>),
    Compared(Option<Step>),
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
                let (mut offer, writer) = grant.resume.begin();
                offer.compare &= grant.compares;
                (Subscription::Now(offer), Some(writer))
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
            features: Features::ALL,
        };
        let (handle, orders) = SessionHandle::new();
        let mut feed = grant.feed;
        feed.newest.mark_unchanged();
        Self {
            peer,
            connection,
            streams,
            session: Session::new(config, Instant::now().into_std()),
            feed,
            live: Questions::default(),
            bulk: Questions::default(),
            compared: None,
            resume: grant.resume,
            compares: grant.compares,
            resume_writer,
            events: grant.events,
            waiting: VecDeque::new(),
            handle,
            orders,
            up_since: None,
            up: None,
            is_up_reported: false,
        }
    }

    /// Tells when the session is up.
    pub(crate) fn telling(self, up: oneshot::Sender<()>) -> Self {
        Self {
            up: Some(up),
            ..self
        }
    }

    /// Runs until the session has ended.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Ended {
        let reason = loop {
            if let Some(reason) = self.perform_outputs() {
                break reason;
            }
            // What was read and not taken comes first.
            let takes_state = self.waiting.is_empty();
            if self.streams.hand_on(&mut self.session, takes_state) {
                continue;
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
                Output::Send(channel, body) => self.streams.push(channel, body),
                Output::Ask(Half::Live, question) => self.live.wanted = Some(question),
                Output::Ask(Half::Bulk, question) => self.bulk.wanted = Some(question),
                Output::Compare { theirs } => {
                    let (reply, compared) = mpsc::channel(1);
                    self.compared = Some(compared);
                    self.waiting.push_back(PeerEvent::Compare { theirs, reply });
                }
                Output::Split => self.streams.split(),
                Output::Up { resumed, instance } => self.come_up(resumed, instance),
                Output::Subscribed { resumed } => {
                    self.waiting.push_back(PeerEvent::Subscribed { resumed });
                }
                Output::Deliver(delivery) => self.waiting.push_back(delivery.into()),
                Output::Refused(refusal) => self.waiting.push_back(PeerEvent::Refused(refusal)),
                Output::Slowed(is_slowed) => {
                    self.waiting.push_back(PeerEvent::Slowed(is_slowed));
                }
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
        for half in [Half::Live, Half::Bulk] {
            let waiting = self.streams.waiting_bytes(half);
            let questions = match half {
                Half::Live => &mut self.live,
                Half::Bulk => &mut self.bulk,
            };
            if questions.is_asking() || waiting > HIGH_WATER_BYTES {
                continue;
            }
            if let Some(question) = questions.wanted.take() {
                questions.ask(&self.feed, question);
            }
        }
    }

    /// Waits for whatever comes first; in this order, so that the peer is heard before it is called silent.
    async fn next_input(&mut self, shutdown: &CancellationToken) -> Input {
        let deadline = self
            .session
            .poll_timeout()
            .map_or_else(Instant::now, Instant::from_std);
        let takes_state = self.waiting.is_empty();
        let readable = Channel::ALL.map(|channel| takes_state && self.session.may_read(channel));
        let (pressing, patient) = self.streams.parts();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Input::Close(GoodbyeReason::ShuttingDown),
            Ok(()) = self.orders.changed() => Input::Ordered,
            event = pressing.next() => Input::Stream(event),
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
            answer = self.live.answer() => Input::Answer(answer),
            answer = self.bulk.answer() => Input::Answer(answer),
            step = step_of(self.compared.as_mut()) => Input::Compared(step),
            changed = self.feed.newest.changed() => match changed {
                Ok(()) => Input::Newest(*self.feed.newest.borrow_and_update()),
                Err(_gone) => Input::OwnerGone,
            },
            event = patient.next(&self.connection, readable) => Input::Stream(event),
        }
    }

    fn take(&mut self, input: Input) {
        let session = &mut self.session;
        match input {
            Input::Stream(event) => self.take_stream_event(event),
            Input::Passed => {}
            Input::Answer(Some(answer)) => session.handle_answer(answer),
            Input::Compared(step) => {
                self.compared = None;
                let everything = || Step::Differ(vec![KeyRange::default()]);
                session.handle_compared(step.unwrap_or_else(everything));
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

    fn take_stream_event(&mut self, event: StreamEvent) {
        let session = &mut self.session;
        match event {
            StreamEvent::Read(channel, Ok(Some(chunk))) => self.streams.take(channel, &chunk.bytes),
            StreamEvent::Read(_, Ok(None)) => session.handle_violation(Violation::BadStream),
            StreamEvent::Read(_, Err(error)) => report_read_error(&error, session),
            StreamEvent::Written(Ok(())) => {}
            StreamEvent::Written(Err(error)) => report_write_error(&error, session),
            StreamEvent::Accepted(Ok(stream)) => {
                if !self.streams.keep_accepted(stream) {
                    session.handle_violation(Violation::BadStream);
                }
            }
            StreamEvent::Opened(Ok(stream)) => self.streams.keep_opened(stream),
            StreamEvent::Accepted(Err(error)) | StreamEvent::Opened(Err(error)) => {
                report_loss(&error, session);
            }
        }
    }

    fn obey(&mut self) {
        let orders = *self.orders.borrow_and_update();
        if let Some(reason) = orders.close {
            self.session.handle_shutdown(reason);
        } else if orders.subscribe && self.resume_writer.is_none() {
            let (mut offer, writer) = self.resume.begin();
            offer.compare &= self.compares;
            self.resume_writer = Some(writer);
            if let Some(pace) = orders.pace {
                self.session.limit_pace(pace);
            }
            self.session.handle_subscribe(offer);
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
        if let Some(up) = self.up.take() {
            // Whoever dialled may have ended.
            up.send(()).unwrap_or_default();
        }
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

/// Moves the resume position with what the owner is about to get.
fn note_passed(event: &PeerEvent, resume: Option<&ResumeWriter>, is_up_reported: &mut bool) {
    let note = |delivery: &Delivery| resume.into_iter().for_each(|r| r.note(delivery));
    match event {
        PeerEvent::Up { .. } => *is_up_reported = true,
        PeerEvent::SnapshotBegin(_) => note(&Delivery::SnapshotBegin(Vec::new())),
        PeerEvent::Progress(cursor) => note(&Delivery::Progress(*cursor)),
        PeerEvent::Subscribed { .. }
        | PeerEvent::Compare { .. }
        | PeerEvent::Updates(_)
        | PeerEvent::SnapshotEnd
        | PeerEvent::Slowed(_)
        | PeerEvent::Rtt(_)
        | PeerEvent::Refused(_)
        | PeerEvent::Down { .. }
        | PeerEvent::Unreachable { .. } => {}
    }
}

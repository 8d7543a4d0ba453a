//! What a session does whose peer is asked for its state later.

use std::time::Instant;

use cluster_registry::digest::{KeyRange, Level, Summary};

use super::*;
use crate::{convert::encode_summary, limits::MAX_URGENT_AHEAD};

#[test]
fn a_subscription_that_continues_what_was_not_offered_is_a_violation() {
    let now = Instant::now();
    let mut session = deferred(&["subscribe"], now);
    session.handle_subscribe(Offer::default());
    assert_eq!(
        drain(&mut session),
        [Output::Send(Channel::Control, subscribe())]
    );

    let resumed = Body::Subscribed(wire::Subscribed { resumed: true });
    control(&mut session, resumed, now);

    assert_violation(&mut session, Violation::UnexpectedSubscription);
}

#[test]
fn state_is_not_read_before_it_was_asked_for() {
    let now = Instant::now();
    let mut session = deferred(&["subscribe"], now);
    assert!(session.is_up() && !session.may_read(Channel::Bulk));

    state(&mut session, begin(), now);

    assert_violation(&mut session, Violation::EarlyState);
}

/// It tells everything from the start, and what it tells waits on the stream until it is read.
#[test]
fn a_peer_that_knows_no_subscriptions_is_read_when_it_is_subscribed_to() {
    let now = Instant::now();
    let mut session = deferred(&[], now);
    assert!(!session.may_read(Channel::Bulk));

    session.handle_subscribe(Resume::from(cursor(9)).offer());

    let subscribed = Output::Subscribed { resumed: false };
    assert_eq!(drain(&mut session), [subscribed]);
    state(&mut session, begin(), now);
    assert!(!session.is_closed());
}

/// The peer's store has forgotten what followed, while what it said before is still on its way: no fault of the peer's.
#[test]
fn digests_are_heard_while_the_memory_for_urgent_updates_is_full() {
    let now = Instant::now();
    let mut session = session(Some(cursor(1)), now);
    let hello = wire::Hello {
        optional_features: ["streams", "digests"].map(str::to_owned).into(),
        ..hello_message()
    };
    control(&mut session, Body::Hello(hello), now);
    control(&mut session, welcome(true), now);
    let gone = (0..MAX_URGENT_AHEAD).map(|number| wire::Update {
        id: Some(wire::Id::Node(format!("n{number}"))),
        gone: true,
        ..wire::Update::default()
    });
    let gone = Body::Updates(wire::Updates {
        updates: gone.collect(),
        batch: 1,
    });
    session.handle_frame(Channel::Urgent, Frame { body: Some(gone) }, now);
    assert!(!session.may_read(Channel::Urgent));
    drain(&mut session);

    let summaries = wire::Summaries {
        level: u32::from(Level::ROOT.number()),
        summaries: vec![encode_summary(
            &Summary {
                level: Level::ROOT,
                range: KeyRange::default(),
                parts: Vec::new(),
            },
            &ClusterName::parse("west").unwrap(),
        )],
        more: false,
        of_sender: true,
    };
    control(&mut session, Body::Summaries(summaries), now);

    assert!(matches!(drain(&mut session)[..], [Output::Compare { .. }]));
}

/// A session that is up, with a peer of some features, whose state was not asked for.
fn deferred(features: &[&str], now: Instant) -> Session {
    let config = Config {
        subscription: Subscription::Later,
        ..config(None)
    };
    let mut session = Session::new(config, now);
    let hello = wire::Hello {
        optional_features: features.iter().map(|f| (*f).to_owned()).collect(),
        ..hello_message()
    };
    control(&mut session, Body::Hello(hello), now);
    control(&mut session, welcome(false), now);
    drain(&mut session);
    session
}

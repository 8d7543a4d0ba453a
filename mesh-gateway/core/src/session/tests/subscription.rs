//! What a session does whose peer is asked for its state later.

use std::time::Instant;

use super::*;

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

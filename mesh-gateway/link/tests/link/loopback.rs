//! Two gateways and their link: what they tell each other, and what they do when it is cut or closed.

use std::{num::NonZeroU32, time::Duration};

use super::support::{
    Ends, Pair, Publisher, TRACE, authority, gateway,
    replicas::{replica, until_told},
    service, settings,
};
use mesh_gateway_core::pace::PaceLimit;
use mesh_link::{
    dial::Dialer, event::GoodbyeReason, listen::Subscribes, resume::Resume, seat::Seat,
    settings::DEFAULT_MAX_BACKOFF,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn each_side_learns_all_that_the_other_has_and_then_each_change() {
    let mut pair = Pair::start().await;
    pair.east.put(service("east", "before")).await;
    pair.until_up().await;

    pair.west.put(service("west", "after")).await;

    pair.at_west
        .until("east's service", |r| {
            r.known.contains_key(&service("east", "before"))
        })
        .await;
    pair.at_east
        .until("west's service", |r| {
            r.known.contains_key(&service("west", "after"))
        })
        .await;
    assert_eq!(pair.at_east.traces, [Some(TRACE)]);

    pair.west.delete(service("west", "after")).await;
    pair.at_east
        .until("its removal", |r| r.known.is_empty())
        .await;
}

#[tokio::test]
async fn a_session_is_told_nothing_before_it_subscribes() {
    let mut pair = Pair::start_with(Ends {
        subscribes: Subscribes::Later,
        ..Ends::of(&authority())
    })
    .await;
    pair.east.put(service("east", "web")).await;
    pair.west.put(service("west", "web")).await;
    pair.at_west.until("a session", |r| !r.ups.is_empty()).await;
    // Both ways take the same path, so that the other way's arrival shows that this one had the time.
    pair.at_east
        .until("west's service", |r| r.known.len() == 1)
        .await;
    assert!(pair.at_west.known.is_empty());

    pair.at_west.handle.as_ref().unwrap().subscribe(None);

    pair.at_west
        .until("east's service", |r| r.known.len() == 1)
        .await;
    assert_eq!(pair.at_west.ups, [false, false]);
}

#[tokio::test]
async fn a_peer_that_says_too_much_is_read_no_faster_and_loses_nothing() {
    let mut pair = Pair::start_with(Ends {
        subscribes: Subscribes::Later,
        ..Ends::of(&authority())
    })
    .await;
    for number in 0..10_000 {
        pair.east.put(service("east", &format!("s{number}"))).await;
    }
    pair.at_west.until("a session", |r| !r.ups.is_empty()).await;
    let begun = Instant::now();

    let handle = pair.at_west.handle.clone().unwrap();
    handle.subscribe(Some(PaceLimit {
        per_second: NonZeroU32::new(5_000).unwrap(),
        burst: 100,
    }));

    pair.at_west
        .until("all services", |r| r.known.len() == 10_000)
        .await;
    // What is in one frame is taken at once.
    let beyond = 10_000.0 - 100.0 - 4_096.0;
    let took = begun.elapsed().as_secs_f64();
    assert!(took > beyond / 5_000.0, "{took} s");
    assert_eq!(pair.at_west.slowed, Some(true));
    assert!(pair.at_west.downs.is_empty());
}

#[tokio::test]
async fn ten_thousand_services_arrive_in_one_snapshot() {
    let mut pair = Pair::start().await;
    for number in 0..10_000 {
        pair.east.put(service("east", &format!("s{number}"))).await;
    }

    pair.at_west
        .until("all services", |r| r.known.len() == 10_000)
        .await;

    assert_eq!(pair.at_west.refused, 0);
    assert!(pair.at_west.snapshots <= 1);
}

#[tokio::test]
async fn a_silent_cut_is_noticed_and_a_healed_link_resumes_what_changed() {
    let mut pair = Pair::start().await;
    pair.until_up().await;
    pair.west.put(service("west", "kept")).await;
    pair.west.put(service("west", "removed")).await;
    pair.at_east
        .until("both services", |r| r.known.len() == 2)
        .await;

    let cut_at = Instant::now();
    pair.relay.cut();
    pair.at_east.until("down", |r| !r.downs.is_empty()).await;
    pair.at_west.until("down", |r| !r.downs.is_empty()).await;
    for (down_at, reason) in pair.at_east.downs.iter().chain(&pair.at_west.downs) {
        assert_eq!(reason, "the peer fell silent");
        let took = *down_at - cut_at;
        // Three intervals, and room for a busy machine.
        assert!(took < Duration::from_millis(800), "{took:?}");
    }
    pair.west.delete(service("west", "removed")).await;
    pair.west.put(service("west", "new")).await;
    pair.at_east
        .until("some failed attempts", |r| r.unreachable.len() >= 2)
        .await;

    let healed_at = Instant::now();
    pair.relay.heal();
    pair.at_east
        .until("the new state", |r| {
            r.known.contains_key(&service("west", "new"))
                && !r.known.contains_key(&service("west", "removed"))
        })
        .await;

    let took = healed_at.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(pair.at_east.ups, [false, true]);
    assert_eq!(pair.at_east.snapshots, 1);
    assert!(pair.at_east.known.contains_key(&service("west", "kept")));
}

#[tokio::test]
async fn the_round_trip_is_measured() {
    let mut pair = Pair::start().await;

    pair.at_east
        .until("a round trip", |r| r.rtt.is_some())
        .await;

    assert!(pair.at_east.rtt.unwrap() < Duration::from_millis(100));
}

#[tokio::test]
async fn a_stopping_side_says_goodbye() {
    let mut pair = Pair::start().await;
    pair.until_up().await;

    pair.stop_west.cancel();

    pair.at_east.until("down", |r| !r.downs.is_empty()).await;
    assert_eq!(
        pair.at_east.downs[0].1,
        "the peer said goodbye: shutting down"
    );
}

#[tokio::test]
async fn a_dialer_that_stops_says_goodbye() {
    let mut pair = Pair::start().await;
    pair.until_up().await;

    pair.stop_east.cancel();

    pair.at_west.until("down", |r| !r.downs.is_empty()).await;
    let reason = "the peer said goodbye: shutting down";
    assert_eq!(pair.at_west.downs[0].1, reason);
}

#[tokio::test]
async fn a_session_closed_by_its_handle_is_dialled_anew() {
    let mut pair = Pair::start().await;
    pair.until_up().await;

    let handle = pair.at_west.handle.clone().unwrap();
    handle.close(GoodbyeReason::Replaced);

    pair.at_east
        .until("a second session", |r| r.ups.len() == 2)
        .await;
    assert_eq!(pair.at_east.downs[0].1, "the peer said goodbye: replaced");
}

#[tokio::test]
async fn each_gateway_of_a_peer_has_a_session_and_the_next_is_read_when_the_lead_ends() {
    let authority = authority();
    let (west, stops) = (
        Publisher::start(2),
        [(); 2].map(|()| CancellationToken::new()),
    );
    west.put(service("west", "web")).await;
    // Nobody answers at the first address.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut addresses = vec![silent.local_addr().unwrap()];
    for stop in &stops {
        addresses.push(replica(
            &settings(&authority, &gateway("west")),
            &west,
            stop,
        ));
    }
    // By this address, a process is found that has a session already.
    addresses.push(addresses[1]);
    let (events, mut reports) = tokio::sync::mpsc::channel(16);
    let dialer = Dialer {
        settings: settings(&authority, &gateway("east")),
        expected: gateway("west"),
        addresses: addresses.iter().map(|a| (*a).try_into().unwrap()).collect(),
        feed: Publisher::start(1).feed,
        resume: Resume::default(),
        subscribes: Subscribes::Later,
        compares: false,
        events,
        max_backoff: DEFAULT_MAX_BACKOFF,
        seed: 1,
    };
    tokio::spawn(dialer.run(CancellationToken::new()));
    let mut seat = Seat::default();
    let mut told = Vec::new();
    let started = Instant::now();

    until_told(&mut reports, &mut seat, &mut told, |seat, told| {
        seat.iter().count() == 2 && told.len() == 1
    })
    .await;
    let took = started.elapsed();
    assert!(
        took < Duration::from_millis(1500),
        "the silent address held it up: {took:?}"
    );
    let lead = seat.address.unwrap();
    let at = addresses.iter().position(|a| *a == lead).unwrap() - 1;
    stops[at].cancel();
    west.put(service("west", "new")).await;

    until_told(&mut reports, &mut seat, &mut told, |seat, told| {
        seat.iter().count() == 1 && told.len() == 2
    })
    .await;
    assert_ne!(told[0], told[1]);
}

#[tokio::test]
async fn a_stranger_with_a_certificate_of_its_own_authority_is_refused() {
    let mut pair = Pair::start_with(Ends {
        dialer: settings(&authority(), &gateway("east")),
        ..Ends::of(&authority())
    })
    .await;

    until_refused(&mut pair).await;
}

#[tokio::test]
async fn a_dialer_refuses_the_gateway_of_another_cluster() {
    let authority = authority();
    let mut pair = Pair::start_with(Ends {
        listener: settings(&authority, &gateway("mallory")),
        ..Ends::of(&authority)
    })
    .await;

    until_refused(&mut pair).await;
}

#[tokio::test]
async fn a_cluster_without_a_link_is_denied() {
    let mut pair = Pair::start_with(Ends {
        admitted: gateway("north"),
        ..Ends::of(&authority())
    })
    .await;

    pair.at_east
        .until("denials", |r| r.unreachable.len() >= 2)
        .await;

    assert!(pair.at_east.ups.is_empty());
    let reason = "the peer said goodbye: not authorised";
    assert!(pair.at_east.unreachable.iter().any(|r| r == reason));
}

#[tokio::test]
async fn resources_of_another_cluster_are_refused_and_the_session_goes_on() {
    let mut pair = Pair::start().await;
    pair.until_up().await;

    pair.east.put(service("west", "stolen")).await;
    pair.east.put(service("east", "own")).await;

    pair.at_west
        .until("its own service", |r| {
            r.known.contains_key(&service("east", "own"))
        })
        .await;
    assert_eq!(pair.at_west.known.len(), 1);
    assert_eq!(pair.at_west.refused, 1);
    assert!(pair.at_west.downs.is_empty());
}

#[tokio::test]
async fn an_owner_that_does_not_listen_costs_no_session() {
    let mut pair = Pair::start().await;
    pair.until_up().await;
    for number in 0..100 {
        pair.east.put(service("east", &format!("s{number}"))).await;
    }

    // West's events are not taken meanwhile, and east goes on hearing it.
    pair.at_east
        .until("time to pass", |r| r.rtt.is_some())
        .await;
    let quiet = timeout(
        Duration::from_secs(1),
        pair.at_east.until("an end", |r| !r.downs.is_empty()),
    );

    assert!(quiet.await.is_err());
    pair.at_west
        .until("all services", |r| r.known.len() == 100)
        .await;
}

/// Waits until the dialer was refused again and again, without ever having had a session.
async fn until_refused(pair: &mut Pair) {
    pair.at_east
        .until("refusals", |r| r.unreachable.len() >= 2)
        .await;
    assert!(pair.at_east.ups.is_empty());
}

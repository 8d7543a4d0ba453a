//! Sessions and agents come and go, and the maps stay as they should.

use mesh_link::event::DownReason;

use super::*;

#[tokio::test(start_paused = true)]
async fn clusters_behind_a_userspace_tunnel_are_out_at_the_start_and_at_the_end() {
    let maps = FakeMaps::default();
    let first = Rig::start(&maps, TunnelKind::Userspace);
    first.sync(everything()).await;
    first.probe("west", Path::Good);
    first.settle().await;
    assert_eq!(state_of(&maps.image(), "west"), Some(ClusterState::Up));
    // Nobody takes them out in the name of an agent that is killed.
    let killed = maps.image();
    first.end().await;
    assert_eq!(state_of(&maps.image(), "west"), Some(ClusterState::Down));
    assert_eq!(state_of(&maps.image(), "east"), Some(ClusterState::Up));

    let maps = FakeMaps::default();
    maps.hold(killed);
    let second = Rig::start(&maps, TunnelKind::Userspace);
    second.settle().await;
    assert_eq!(state_of(&maps.image(), "west"), Some(ClusterState::Down));
    second.sync(everything()).await;
    assert_eq!(state_of(&maps.image(), "west"), Some(ClusterState::Down));
    second.probe("west", Path::Good);
    second.settle().await;
    assert_eq!(state_of(&maps.image(), "west"), Some(ClusterState::Up));
}

#[tokio::test(start_paused = true)]
async fn the_kernels_tunnel_keeps_clusters_in_when_the_agent_ends() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::Kernel);
    rig.sync(everything()).await;
    rig.probe("west", Path::Good);
    rig.settle().await;
    maps.take_done();

    rig.end().await;

    assert_eq!(maps.take_done(), []);
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_changes_nothing_in_the_maps() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::Kernel);
    rig.sync(everything()).await;
    rig.probe("west", Path::Good);
    rig.settle().await;
    maps.take_done();

    rig.down().await;
    rig.pass(Duration::from_secs(3600)).await;

    assert_eq!(maps.take_done(), []);
    assert!(rig.readiness.is_ready());
    assert_eq!(rig.status().await.gateway.replicas, []);
    assert_eq!(rig.metrics.gateway_connected.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_words_of_an_older_session_are_ignored() {
    let maps = FakeMaps::default();
    let mut rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    let older = rig.renew_session();
    rig.up().await;
    rig.settle().await;
    maps.take_done();

    let update = gone(endpoint("east", "s1", "10.1.0.1"));
    rig.say_in(older, PeerEvent::Updates(vec![update])).await;
    rig.say_in(older, PeerEvent::SnapshotBegin(vec![KeyRange::default()]))
        .await;
    rig.say_in(older, PeerEvent::SnapshotEnd).await;
    let reason = DownReason::Silent;
    rig.say_in(older, PeerEvent::Down { reason }).await;
    rig.settle().await;

    assert_eq!(maps.take_done(), []);
    assert!(rig.status().await.gateway.replicas[0].lead);
}

#[tokio::test(start_paused = true)]
async fn another_gateway_takes_over_and_what_is_known_stays() {
    let maps = FakeMaps::default();
    let mut rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    let first = rig.other_gateway("b");
    rig.rise().await;
    maps.take_done();

    let reason = DownReason::Silent;
    rig.say_in(first, PeerEvent::Down { reason }).await;
    rig.settle().await;

    assert_eq!(rig.metrics.gateway_connected.get(), 1);
    let replicas = rig.status().await.gateway.replicas;
    let [lead] = &replicas[..] else {
        panic!("{replicas:?}");
    };
    assert_eq!((lead.replica.as_deref(), lead.lead), (Some("b"), true));
    rig.say(PeerEvent::Subscribed { resumed: false }).await;
    rig.say(PeerEvent::SnapshotBegin(vec![KeyRange::default()]))
        .await;
    rig.say(PeerEvent::Updates(everything())).await;
    rig.say(PeerEvent::SnapshotEnd).await;
    rig.settle().await;
    assert_eq!(maps.take_done(), []);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_breaks_off_takes_nothing_away() {
    let maps = FakeMaps::default();
    let mut rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    rig.renew_session();
    maps.take_done();

    rig.up().await;
    rig.say(PeerEvent::SnapshotBegin(vec![KeyRange::default()]))
        .await;
    rig.say(PeerEvent::Updates(vec![endpoint("east", "s1", "10.1.9.9")]))
        .await;
    rig.down().await;

    let ops = maps.take_ops();
    assert_eq!(ops.len(), 2, "only the new backend is added: {ops:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_restarted_gateway_has_not_heard_again_leaves_after_a_while() {
    let maps = FakeMaps::default();
    let mut rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    rig.down().await;
    rig.renew_session();
    maps.take_done();
    let lacking = everything()
        .into_iter()
        .filter(|update| update.key != global(2)[3].key && update.key != global(2)[2].key);

    rig.sync(lacking.collect()).await;
    assert_eq!(maps.take_done(), []);
    let (_, backends) = rig.status().await.sizes;
    assert_eq!(backends, 4);
    rig.pass(node_dp_core::replica::SETTLE).await;

    let image = maps.image();
    assert_eq!((image.services.len(), image.backends.len()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_on_shutdown_in_the_middle_of_its_work() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    let services: Vec<_> = (0..3000).flat_map(global).collect();
    maps.take_done();
    rig.say(PeerEvent::Updates(services)).await;
    rig.take_turns_until(|rig| rig.maps.done_count() > 0).await;

    rig.end().await;

    assert!(maps.image().services.len() < 3000);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_dialer() {
    let mut rig = Rig::start(&FakeMaps::default(), TunnelKind::None);

    rig.drop_reports();

    rig.wait().await;
}

//! What fails, or was changed by others, is made up for; what is lost comes first.

use super::*;

#[tokio::test(start_paused = true)]
async fn programs_that_could_not_be_attached_are_tried_again() {
    let maps = FakeMaps::default();
    maps.refuse_activation();
    let rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    assert!(!rig.readiness.is_ready());
    let error = rig.status().await.last_error.unwrap();
    assert_eq!(error, "the programs could not be attached: told to refuse");

    maps.heal();
    rig.pass(RETRY_INTERVAL).await;

    assert!(rig.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_lost_path_is_one_write_before_thousands_of_services_that_wait() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::Kernel);
    rig.sync(everything()).await;
    rig.probe("west", Path::Good);
    rig.settle().await;
    maps.take_done();
    let services: Vec<_> = (0..3000).flat_map(global).collect();
    rig.say(PeerEvent::Updates(services)).await;
    rig.take_turns_until(|rig| rig.maps.done_count() > 0).await;

    let written = maps.done_count();
    rig.probe("west", Path::Lost);
    rig.settle().await;

    let ops = maps.take_ops();
    let is_verdict = |op: &MapOp| matches!(op, MapOp::PutCluster(..));
    assert_eq!(ops.iter().filter(|op| is_verdict(op)).count(), 1);
    assert_eq!(ops.iter().position(is_verdict), Some(written));
    assert!(ops.len() > 2 * written, "services were still waiting");
    let image = maps.image();
    assert_eq!(state_of(&image, "west"), Some(ClusterState::Down));
    assert_eq!(image.services.len(), 3000);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_failed_is_told_and_tried_again() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    let before = maps.image();
    maps.refuse(|op| matches!(op, MapOp::PutBackend(..)));

    rig.change(vec![endpoint("east", "s1", "10.1.9.9")]).await;
    assert_eq!(maps.image(), before, "an old answer is better than a hole");
    let error = rig.status().await.last_error.unwrap();
    assert_eq!(error, "a map could not be changed: told to refuse");

    rig.pass(RETRY_INTERVAL).await;
    assert_eq!(maps.image(), before);
    maps.heal();
    rig.pass(RETRY_INTERVAL).await;
    assert_eq!(maps.image().backends.len(), before.backends.len() + 1);
    let (services, backends) = rig.status().await.sizes;
    assert_eq!((services, backends), (2, before.backends.len() + 1));
}

#[tokio::test(start_paused = true)]
async fn drift_of_the_maps_is_counted_and_healed() {
    let maps = FakeMaps::default();
    let rig = Rig::start(&maps, TunnelKind::None);
    rig.sync(everything()).await;
    let planned = maps.image();
    let (stolen, _) = planned.backends.first_key_value().unwrap();
    maps.tamper(&MapOp::DeleteBackend(*stolen));
    maps.tamper(&MapOp::PutBackend(BackendKey::new(99, 0, 0), strange()));
    assert_eq!(rig.metrics.drift.get(), 0);

    rig.pass(COMPARE_INTERVAL).await;

    assert_eq!(maps.image(), planned);
    assert_eq!(rig.metrics.drift.get(), 2);
    rig.pass(COMPARE_INTERVAL).await;
    assert_eq!(rig.metrics.drift.get(), 2);
}

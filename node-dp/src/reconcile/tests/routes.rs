//! No map leads to another cluster's pods before the routes there stand.

use super::*;

#[tokio::test(start_paused = true)]
async fn services_wait_for_the_routes_of_nodes_that_are_new() {
    let maps = FakeMaps::default();
    let (routed_tx, routed) = watch::channel(None);
    let rig = Rig::start_with_routes(&maps, TunnelKind::Kernel, Some(routed));

    rig.sync(everything()).await;
    assert!(maps.image().services.is_empty() && !rig.readiness.is_ready());

    routed_tx.send_replace(rig.plan.borrow().clone());
    rig.settle().await;
    assert_eq!(maps.image().services.len(), 2);
    assert!(rig.readiness.is_ready());

    // What needs no new route waits for none.
    rig.change(vec![endpoint("east", "s1", "10.1.0.9")]).await;
    assert!(
        maps.image()
            .backends
            .values()
            .any(|b| b.to_string() == "10.1.0.9:8080")
    );
}

#[tokio::test(start_paused = true)]
async fn routes_of_an_older_plan_are_not_those_that_services_wait_for() {
    let maps = FakeMaps::default();
    let (routed_tx, routed) = watch::channel(None);
    let rig = Rig::start_with_routes(&maps, TunnelKind::Kernel, Some(routed));
    rig.sync(everything()).await;

    routed_tx.send_replace(Some(Arc::default()));
    rig.settle().await;

    assert!(maps.image().services.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_set_its_routes_serves_in_the_end() {
    let maps = FakeMaps::default();
    let (_routed_tx, routed) = watch::channel(None);
    let rig = Rig::start_with_routes(&maps, TunnelKind::Kernel, Some(routed));
    rig.sync(everything()).await;
    assert!(maps.image().services.is_empty());

    rig.pass(Duration::from_secs(3)).await;

    assert_eq!(maps.image().services.len(), 2);
    assert!(rig.readiness.is_ready());
}

//! Tests of what goes wrong between a source and its server: cuts, expiry, restarts, slowness and refusals.

use std::time::Duration;

use super::world::{definition, double, link, service, set, start, watches};

#[tokio::test]
async fn a_cut_watch_is_resumed_without_listing_again() {
    let server = double();
    set(&server, service("api", "10.96.0.5"));
    let mut running = start(server.kubeconfig()).await;
    running
        .until(|state| state.contains_key("service shop/api"))
        .await;
    let watches = watches(&server, "services");

    server.cut_watches();
    set(&server, service("web", "10.96.0.2"));
    running
        .until(|state| state.contains_key("service shop/web"))
        .await;
    assert_eq!(running.snapshots, 1);
    assert_eq!(running.withdrawn, [] as [String; 0]);
    assert!(watches < super::world::watches(&server, "services"));
}

#[tokio::test]
async fn a_watch_whose_place_has_expired_lists_again_and_misses_nothing() {
    let server = double();
    set(&server, service("api", "10.96.0.5"));
    set(&server, service("old", "10.96.0.3"));
    let mut running = start(server.kubeconfig()).await;
    running.until(|state| state.len() > 1).await;

    server.pause_watches(true);
    server.delete(&service("old", "10.96.0.3")).unwrap();
    set(&server, service("web", "10.96.0.2"));
    server.compact();
    server.pause_watches(false);

    running
        .until(|state| {
            state.contains_key("service shop/api")
                && state.contains_key("service shop/web")
                && !state.contains_key("service shop/old")
        })
        .await;
    assert_eq!(running.snapshots, 1);
    assert_eq!(running.withdrawn, ["service shop/old"]);
}

#[tokio::test]
async fn a_restarted_api_server_is_followed_and_nothing_flaps() {
    let server = double();
    set(&server, service("api", "10.96.0.5"));
    set(&server, service("old", "10.96.0.3"));
    let mut running = start(server.kubeconfig()).await;
    running.until(|state| state.len() > 1).await;

    server.refuse_connections().await;
    running.until_problem("watch of services: ").await;
    server.delete(&service("old", "10.96.0.3")).unwrap();
    set(&server, service("web", "10.96.0.2"));
    server.restart().await.unwrap();

    running
        .until(|state| {
            state.contains_key("service shop/web") && !state.contains_key("service shop/old")
        })
        .await;
    assert_eq!(running.withdrawn, ["service shop/old"]);
    assert_eq!(running.snapshots, 1);
}

#[tokio::test]
async fn a_slow_list_delays_the_snapshot_and_nothing_else() {
    let server = double();
    server.refuse_streaming_lists();
    server.delay_lists(Duration::from_millis(300));
    set(&server, service("api", "10.96.0.5"));
    let mut running = start(server.kubeconfig()).await;
    running
        .until(|state| state.contains_key("service shop/api"))
        .await;
    assert_eq!(running.snapshots, 1);
}

#[tokio::test]
async fn a_refused_list_is_told_and_tried_again() {
    let server = double();
    server.forbid("", "nodes", &["list", "watch"]);
    let mut running = start(server.kubeconfig()).await;

    running.until_problem("nodes is forbidden").await;
    assert_eq!(running.snapshots, 0);

    server.permit("", "nodes");
    running.until(|_| true).await;
    running.until_no_problem("nodes").await;
}

#[tokio::test]
async fn a_refusal_of_links_is_told_and_the_rest_goes_on() {
    let server = double();
    set(&server, definition("clusterlinks"));
    set(&server, link("west"));
    server.forbid("isthmus.io", "clusterlinks", &[]);
    let mut running = start(server.kubeconfig()).await;

    running.until(|_| true).await;
    running
        .until_problem("linking by objects is off until this is allowed")
        .await;

    server.permit("isthmus.io", "clusterlinks");
    running.until_links(1).await;
    running.until_no_problem("clusterlinks").await;
}

//! Tests of the source on real directories: every way in which people and tools change files.

mod running;

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
};

use cluster_registry::resource::Resource;
use tempfile::TempDir;

use self::running::{DEADLINE, Running, TRACE, headless, service, service_json, start, write};
use super::*;

#[tokio::test]
async fn the_first_thing_told_is_the_complete_state() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    write(dir.path(), "a/b/web.yaml", &service("web", 1));
    write(dir.path(), "api.yml", &service("api", 2));
    write(dir.path(), "notes.txt", "no manifest");
    write(dir.path(), ".hidden.yaml", &service("hidden", 3));

    let mut events = start(dir.path()).events;

    let Some(SourceEvent::Snapshot(resources)) = events.recv().await else {
        panic!("no snapshot");
    };
    assert_eq!(resources.len(), 2);
}

#[tokio::test]
async fn an_empty_directory_is_a_complete_state_too() {
    let dir = TempDir::new().unwrap();

    let mut events = start(dir.path()).events;

    assert_eq!(events.recv().await, Some(SourceEvent::Snapshot(vec![])));
}

#[tokio::test]
async fn exports_and_links_are_read_too() {
    let dir = TempDir::new().unwrap();
    write(dir.path(), "web.yaml", &service("web", 1));
    let mut running = start(dir.path());
    running.until(&[("web", 1)]).await;

    write(dir.path(), "link.yaml", LINK);
    running.until_true(|running| running.links.len() == 1).await;
    write(dir.path(), "export.yaml", EXPORT);
    let is_exported = |running: &Running| {
        running.state.values().any(
            |resource| matches!(resource, Resource::Service(service) if service.export.is_some()),
        )
    };
    running.until_true(is_exported).await;

    fs::remove_file(dir.path().join("export.yaml")).unwrap();
    running.until_true(|running| !is_exported(running)).await;
    fs::remove_file(dir.path().join("link.yaml")).unwrap();
    running.until_true(|running| running.links.is_empty()).await;
}

const LINK: &str = "apiVersion: isthmus.io/v1alpha1
kind: ClusterLink
metadata: {name: west}
spec: {addresses: ['gw.west.example:4700']}
";

const EXPORT: &str = "apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {name: web}
";

#[tokio::test]
async fn every_way_of_changing_files_is_seen() {
    let dir = TempDir::new().unwrap();
    let root = dir.path();
    let mut running = start(root);
    running.until(&[]).await;

    // A new file.
    write(root, "web.yaml", &service("web", 1));
    running.until(&[("web", 1)]).await;
    // In place, and of the same length.
    write(root, "web.yaml", &service("web", 2));
    running.until(&[("web", 2)]).await;
    // By rename over it, as editors and `kubectl` plugins do.
    write(root, ".web.yaml.tmp", &service("web", 3));
    fs::rename(root.join(".web.yaml.tmp"), root.join("web.yaml")).unwrap();
    running.until(&[("web", 3)]).await;
    // In a new directory, several levels at once.
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    write(root, "a/b/c/api.json", &service_json("api", 4));
    running.until(&[("api", 4), ("web", 3)]).await;
    // In a directory that was renamed.
    fs::rename(root.join("a"), root.join("z")).unwrap();
    write(root, "z/b/c/api.json", &service_json("api", 5));
    running.until(&[("api", 5), ("web", 3)]).await;
    // A name that stops being a manifest's.
    fs::rename(root.join("web.yaml"), root.join("web.yaml.off")).unwrap();
    running.until(&[("api", 5)]).await;
    // A whole tree removed, and made again.
    fs::remove_dir_all(root.join("z")).unwrap();
    running.until(&[]).await;
    fs::create_dir_all(root.join("z/b/c")).unwrap();
    write(root, "z/b/c/api.json", &service_json("api", 6));
    running.until(&[("api", 6)]).await;
}

#[tokio::test]
async fn a_file_that_is_rewritten_slowly_never_withdraws_what_it_declares() {
    let dir = TempDir::new().unwrap();
    write(dir.path(), "web.yaml", &service("web", 1));
    let mut running = start(dir.path());
    running.until(&[("web", 1)]).await;

    let mut file = File::create(dir.path().join("web.yaml")).unwrap();
    // Another file's change makes the source read while this one is empty.
    write(dir.path(), "api.yaml", &service("api", 2));
    running.until(&[("api", 2), ("web", 1)]).await;
    file.write_all(service("web", 3).as_bytes()).unwrap();
    drop(file);

    running.until(&[("api", 2), ("web", 3)]).await;
    assert_eq!(running.withdrawn, 0);
}

#[tokio::test]
async fn a_mounted_config_map_is_exchanged_as_a_whole() {
    let dir = TempDir::new().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("..1")).unwrap();
    write(root, "..1/web.yaml", &service("web", 1));
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/web.yaml", root.join("web.yaml")).unwrap();
    let mut running = start(root);
    running.until(&[("web", 1)]).await;

    fs::create_dir(root.join("..2")).unwrap();
    write(root, "..2/web.yaml", &service("web", 2));
    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();

    running.until(&[("web", 2)]).await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_told_and_waited_for() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("not/yet");
    let mut running = start(&root);
    let problems = running.until_problems(|problems| problems.len() == 1).await;
    assert!(
        problems[0].contains("cannot be read (No such file or directory"),
        "{problems:?}"
    );
    assert!(!running.is_synced);

    fs::create_dir_all(&root).unwrap();
    write(&root, "web.yaml", &service("web", 1));

    running.until(&[("web", 1)]).await;
    running.until_problems(|problems| problems.is_empty()).await;
}

#[tokio::test]
async fn a_directory_that_vanishes_does_not_take_its_services_along() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("manifests");
    fs::create_dir(&root).unwrap();
    write(&root, "web.yaml", &service("web", 1));
    let mut running = start(&root);
    running.until(&[("web", 1)]).await;

    fs::rename(&root, dir.path().join("away")).unwrap();
    running.until_problems(|problems| problems.len() == 1).await;
    assert_eq!(running.services(), [("web".to_owned(), 1)]);

    fs::create_dir(&root).unwrap();
    write(&root, "web.yaml", &service("web", 2));
    running.until(&[("web", 2)]).await;
    assert_eq!(running.withdrawn, 0);
}

#[tokio::test]
async fn a_bad_document_is_told_until_it_is_mended_and_the_others_count() {
    let dir = TempDir::new().unwrap();
    let good = service("web", 1);
    write(
        dir.path(),
        "all.yaml",
        &format!("{good}---\nkind: [\n---\n{}", service("api", 2)),
    );
    write(dir.path(), "binary.yaml", "");
    fs::write(dir.path().join("binary.yaml"), [0xff, 0xfe]).unwrap();
    let mut running = start(dir.path());

    running.until(&[("api", 2), ("web", 1)]).await;
    let problems = running.until_problems(|problems| problems.len() == 2).await;
    assert!(
        problems[0] == "all.yaml, document 2: line 9, column 7: unclosed bracket '['",
        "{problems:?}"
    );
    assert_eq!(
        problems[1],
        "binary.yaml: it is not UTF-8: the file does not count"
    );

    write(dir.path(), "all.yaml", &good);
    fs::remove_file(dir.path().join("binary.yaml")).unwrap();
    running.until_problems(|problems| problems.is_empty()).await;
    running.until(&[("web", 1)]).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read() {
    let dir = TempDir::new().unwrap();
    let file = File::create(dir.path().join("large.yaml")).unwrap();
    file.set_len(1 << 40).unwrap();
    write(dir.path(), "web.yaml", &service("web", 1));
    let mut running = start(dir.path());

    running.until(&[("web", 1)]).await;
    let problems = running
        .until_problems(|problems| !problems.is_empty())
        .await;
    assert_eq!(
        problems,
        ["large.yaml: it is larger than 16777216 bytes: the file does not count"]
    );
}

#[tokio::test]
async fn a_burst_of_files_arrives_complete() {
    let dir = TempDir::new().unwrap();
    let mut running = start(dir.path());
    running.until(&[]).await;
    let names: Vec<String> = (0..3_000).map(|n| format!("web-{n:04}")).collect();

    for name in &names {
        fs::create_dir(dir.path().join(name)).unwrap();
        write(dir.path(), &format!("{name}/web.yaml"), &headless(name));
    }

    running
        .until_services(|services| services.len() == names.len())
        .await;
}

#[tokio::test]
async fn each_change_bears_the_trace_that_the_hook_gives() {
    let dir = TempDir::new().unwrap();
    let mut running = start(dir.path());
    running.until(&[]).await;

    write(dir.path(), "web.yaml", &service("web", 1));

    running.until(&[("web", 1)]).await;
    assert_eq!(running.traces, [Some(TRACE)]);
}

#[tokio::test]
async fn it_ends_with_its_receiver_and_with_the_token() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path());
    drop(running.events);
    tokio::time::timeout(DEADLINE, running.task)
        .await
        .unwrap()
        .unwrap();

    let running = start(dir.path());
    running.shutdown.cancel();
    tokio::time::timeout(DEADLINE, running.task)
        .await
        .unwrap()
        .unwrap();
}

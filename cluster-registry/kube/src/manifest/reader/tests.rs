//! Tests of what lies in a directory beside proper manifests.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::symlink, net::UnixListener},
};

use tempfile::TempDir;

use super::*;
use crate::manifest::watch;

#[test]
fn what_is_no_file_is_told_and_not_opened() {
    let dir = TempDir::new().unwrap();
    symlink("nowhere", dir.path().join("link.yaml")).unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket.yaml")).unwrap();
    fs::create_dir(dir.path().join("directory.yaml")).unwrap();

    let reading = reader(&dir).read(&Dirty::All);

    let problems: Vec<String> = reading.problems.iter().map(Problem::to_string).collect();
    let [link, socket] = &problems[..] else {
        panic!("{problems:?}");
    };
    assert!(
        link.starts_with("link.yaml: it cannot be read (No such file"),
        "{link}"
    );
    assert_eq!(
        socket,
        "socket.yaml: it is no regular file, and does not count"
    );
    assert_eq!(reading.news, News::First(vec![]));
}

#[test]
fn a_circle_of_links_has_an_end() {
    let dir = TempDir::new().unwrap();
    symlink("..", dir.path().join("up")).unwrap();
    symlink(".", dir.path().join("here.yaml")).unwrap();
    symlink("web.yaml", dir.path().join("web.yaml")).unwrap();

    let reading = reader(&dir).read(&Dirty::All);

    assert_eq!(reading.problems.len(), 2, "{:?}", reading.problems);
}

#[test]
fn a_file_is_left_as_it_was_while_it_is_being_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("web.yaml");
    fs::write(
        &path,
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: None}}",
    )
    .unwrap();
    let mut reader = reader(&dir);
    assert!(matches!(reader.read(&Dirty::All).news, News::First(all) if all.len() == 1));

    fs::write(&path, "").unwrap();
    let unfinished = Dirty::Some {
        due: BTreeSet::new(),
        unfinished: [path].into(),
    };
    assert_eq!(reader.read(&unfinished).news, News::Changes(vec![]));

    let finished = Dirty::Some {
        due: BTreeSet::new(),
        unfinished: BTreeSet::new(),
    };
    assert!(matches!(reader.read(&finished).news, News::Changes(all) if all.len() == 1));
}

fn reader(dir: &TempDir) -> Reader {
    let (sender, _) = watch::channel();
    Reader::new(dir.path().to_owned(), sender)
}

//! Tests of what lies in a directory beside proper manifests.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::symlink, net::UnixListener},
};

use proptest::prelude::*;
use serde_json::{Value, json};
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

proptest! {
    // Each case writes and reads files.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn files_of_any_bytes_never_panic_and_take_nothing_from_a_good_one(
        before in any_bytes(), after in any_bytes()
    ) {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("good.yaml"), GOOD).unwrap();
        let mut reader = reader(&dir);
        for bytes in [before, after] {
            for name in ["bytes.yaml", "bytes.json"] {
                fs::write(dir.path().join(name), &bytes).unwrap();
            }
            reader.read(&Dirty::All);
            prop_assert!(has_good(&mut reader));
        }
    }

    #[test]
    fn any_value_in_any_field_never_panics_and_takes_nothing_from_a_good_file(
        place in any::<prop::sample::Index>(), value in any_value()
    ) {
        let mut objects = objects();
        let mut pointers = Vec::new();
        collect_pointers(&objects, "", &mut pointers);
        *objects
            .pointer_mut(place.get::<String>(&pointers))
            .unwrap() = value;
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("good.yaml"), GOOD).unwrap();
        let mut reader = reader(&dir);

        for name in ["odd.json", "odd.yaml"] {
            fs::write(dir.path().join(name), objects.to_string()).unwrap();
            reader.read(&Dirty::All);
            prop_assert!(has_good(&mut reader));
        }
    }
}

const GOOD: &str =
    "{apiVersion: v1, kind: Service, metadata: {name: good}, spec: {clusterIP: 10.96.0.99}}";

/// Whether the good file's service is among what counts.
fn has_good(reader: &mut Reader) -> bool {
    let resources = reader.catalog.settle().take_snapshot();
    resources
        .iter()
        .any(|(id, _)| format!("{id:?}").contains("good"))
}

/// Noise, noise in the words of manifests, and manifests with a few wrong bytes.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..300);
    let words = prop::sample::select(vec![
        "apiVersion: v1",
        "kind: Service",
        "kind: List",
        "items:",
        "---",
        "metadata:",
        "name: good",
        "spec:",
        "clusterIP: ",
        "- ",
        "  ",
        "\n",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "!!binary ",
        "\u{feff}",
        "\0",
        "|",
        "\"",
        "10.96.0.1",
        "<<: ",
    ]);
    let words = prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes());
    let wrong = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8);
    let manifest = wrong.prop_map(|wrong| {
        let mut bytes = objects().to_string().into_bytes();
        for (place, byte) in wrong {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    });
    prop_oneof![noise, words, manifest]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,70}".prop_map(Value::from),
        prop::sample::select(vec!["None", "TCP", "::1", "10.1.0.0/33", "true"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,12}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// One object of each kind that counts.
fn objects() -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": {"a": "b"}}},
        {"apiVersion": "v1", "kind": "Service",
         "metadata": {"name": "web", "namespace": "shop", "annotations": {"isthmus.io/global": "true"}},
         "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "type": "ClusterIP",
                  "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
         "endpoints": [{"addresses": ["10.1.0.2"], "nodeName": "n1", "zone": "a", "hostname": "web-1",
                        "conditions": {"ready": true, "serving": true, "terminating": false}}],
         "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]},
        {"apiVersion": "v1", "kind": "Node",
         "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}},
         "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]},
         "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}},
    ]})
}

/// The places of all values but the outermost.
fn collect_pointers(value: &Value, at: &str, pointers: &mut Vec<String>) {
    let mut take = |key: &str, inner: &Value| {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        collect_pointers(inner, &pointer, pointers);
        pointers.push(pointer);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| take(key, inner)),
        Value::Array(list) => {
            let numbered = list.iter().enumerate();
            numbered.for_each(|(place, inner)| take(&place.to_string(), inner));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn reader(dir: &TempDir) -> Reader {
    let (sender, _) = watch::channel();
    Reader::new(dir.path().to_owned(), sender)
}

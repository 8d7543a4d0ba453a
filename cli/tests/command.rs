//! The command as a user runs it: what it prints, and the exit codes that scripts rely on.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Output},
    thread,
};

use serde_json::Value;

#[test]
fn a_status_that_nobody_answers_ends_with_3_and_says_what_to_do() {
    // The discard port: nothing listens there.
    let output = isthmus(&["status", "--admin", "http://127.0.0.1:9"]);

    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("--admin"), "{output:?}");
    assert!(output.stdout.is_empty());
}

#[test]
fn arguments_that_make_no_sense_end_with_2() {
    assert_eq!(
        isthmus(&["status", "--no-such-flag"]).status.code(),
        Some(2)
    );
}

#[test]
fn a_healthy_gateway_ends_with_0_and_a_table_names_its_peer() {
    let url = serve(
        r#"{"cluster":"east","ready":true,"peers":[{"cluster":"west","state":"connected"}]}"#,
    );

    let output = isthmus(&["status", "--admin", &url]);

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let table = text(&output.stdout);
    assert!(
        table.contains("west") && table.contains("connected"),
        "{table}"
    );
}

#[test]
fn a_lost_link_ends_with_1_and_the_document_is_complete() {
    let url =
        serve(r#"{"cluster":"east","ready":true,"peers":[{"cluster":"west","state":"lost"}]}"#);

    let output = isthmus(&["-o", "json", "status", "--admin", &url]);

    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        document["sources"][0]["status"]["peers"][0]["state"],
        "lost"
    );
    assert!(text(&output.stderr).contains("no session with west"));
}

#[test]
fn services_show_ready_backends_per_cluster() {
    let url = serve(
        r#"{"cluster":"east","peers":[],"services":[{"namespace":"shop","name":"web","global":true,
           "affinity":"none","cluster_ips":["10.101.0.10"],"ports":[{"port":80,"protocol":"TCP"}],
           "backends":{"west":{"ready":2,"total":3}}}]}"#,
    );

    let table = text(&isthmus(&["services", "--admin", &url]).stdout);

    for part in ["shop/web", "10.101.0.10", "80/TCP", "west 2/3"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
}

#[test]
fn credentials_are_made_issued_and_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca").display().to_string();
    let node = folder.path().join("node").display().to_string();

    let init = isthmus(&[
        "certs",
        "init",
        "--dir",
        &authority,
        "--trust-domain",
        "example.org",
    ]);
    assert!(init.status.success(), "{init:?}");
    let issue = [
        "certs",
        "issue",
        "--ca",
        &authority,
        "--cluster",
        "east",
        "--node",
        "n1",
        "--out",
        &node,
    ];
    assert!(isthmus(&issue).status.success());
    let inspected = isthmus(&["certs", "inspect", &node]);
    assert!(inspected.status.success(), "{inspected:?}");
    let said = text(&inspected.stdout);
    assert!(
        said.contains("spiffe://example.org/cluster/east/node/n1"),
        "{said}"
    );

    let again = isthmus(&issue);
    assert_eq!(again.status.code(), Some(1), "credentials were overwritten");
}

#[test]
fn a_lab_that_is_not_there_is_answered_with_how_to_build_one() {
    let output = isthmus(&["lab", "status", "nosuchlab"]);

    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("lab up"), "{output:?}");
}

fn isthmus(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isthmus"))
        .args(arguments)
        .env_remove("ISTHMUS_ADMIN")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Answers one request with a status document; its URL.
fn serve(document: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _length = stream.read(&mut request).unwrap();
        write!(stream, "HTTP/1.0 200 OK\r\n\r\n{document}").unwrap();
    });
    url
}

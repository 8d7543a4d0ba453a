//! Tests of reading documents: what counts, what is told, and that hostile text does no harm.

use cluster_registry::{endpoint::Conditions, name::PortName, service::ClusterAffinity};
use proptest::prelude::*;

use super::*;

#[test]
fn a_service_and_its_slice_count() {
    let content = yaml(&format!("{SERVICE}---\n{SLICE}"));

    assert_eq!(content.complaints, []);
    let [service, slice] = &content.objects[..] else {
        panic!("{content:?}");
    };
    assert_eq!(service.document, 1);
    assert_eq!(service.key.to_string(), "Service shop/web");
    let Object::Service(service) = &service.object else {
        panic!("{service:?}");
    };
    assert_eq!(service.cluster_ips, [ip("10.96.0.10"), ip("fd00:96::10")]);
    assert_eq!(service.ports.len(), 2);
    assert!(service.sharing.global && service.sharing.shared);
    assert_eq!(service.sharing.affinity, ClusterAffinity::Local);
    let Object::Slice(slice) = &slice.object else {
        panic!("{slice:?}");
    };
    assert_eq!(slice.service.to_string(), "shop/web");
    let endpoint = &slice.endpoint_by_address[&ip("10.1.0.2")];
    assert_eq!(endpoint.conditions, Conditions::READY);
    assert_eq!(
        endpoint.ports[0].name,
        Some(PortName::parse("http").unwrap())
    );
    assert_eq!(endpoint.ports[0].port, 8080);
}

#[test]
fn a_broken_document_costs_only_itself() {
    let text = format!("{SERVICE}---\nkind: Service\n  name: x\n---\n{SLICE}");

    let content = yaml(&text);

    assert_eq!(content.objects.len(), 2);
    assert_eq!(content.objects[1].document, 3);
    assert_eq!(
        told(&content),
        ["2: line 18, column 7: mapping values are not allowed in this context"]
    );
}

#[test]
fn documents_without_content_are_not_counted() {
    let text =
        format!("%YAML 1.2\n---\n# nothing\n---\n...\n---\n{SERVICE}...\n--- # again\n{SLICE}");

    let content = yaml(&text);

    let numbers: Vec<usize> = content.objects.iter().map(|found| found.document).collect();
    assert_eq!(numbers, [1, 2], "{content:?}");
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_taken() {
    let text = format!("\u{feff}{SERVICE}---\n{SLICE}").replace('\n', "\r\n");

    let content = yaml(&text);

    assert_eq!(content.complaints, []);
    assert_eq!(content.objects.len(), 2);
}

#[test]
fn a_mark_inside_a_block_of_text_still_ends_the_document() {
    let text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: |\n    ---\n    b\n";

    assert_eq!(yaml(text).skipped.len(), 1);
}

#[test]
fn a_list_gives_its_items_each_on_its_own() {
    let text = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 172.18.0.2}]}}
- {apiVersion: v1, kind: Node, metadata: {}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}
- 7
";

    let content = yaml(text);

    assert_eq!(content.objects.len(), 1);
    assert_eq!(
        told(&content),
        [
            "1: item 2: Node: metadata.name is missing",
            "1: item 4: it is no Kubernetes object: a mapping with apiVersion and kind is needed"
        ]
    );
    assert_eq!(
        content.skipped[0].text,
        "item 3: Deployment of apps/v1 is not read"
    );
}

#[test]
fn a_list_of_one_kind_gives_it_to_its_items() {
    let text = r#"{"apiVersion": "v1", "kind": "NamespaceList", "items": [{"metadata": {"name": "shop"}}]}"#;

    let content = read(text, Form::Json);

    assert_eq!(content.objects[0].key.to_string(), "Namespace shop");
}

#[test]
fn other_kinds_are_skipped_without_a_complaint() {
    for text in [
        "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: web}}",
        "{apiVersion: v1, kind: Pod, metadata: {name: web}}",
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web}, addressType: IPv4, endpoints: []}",
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web, labels: {kubernetes.io/service-name: web}}, addressType: FQDN, endpoints: []}",
        "{apiVersion: v1, kind: Service, metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: other}}}",
    ] {
        let content = yaml(text);

        assert_eq!(
            (content.objects.len(), content.skipped.len()),
            (0, 1),
            "{text}"
        );
        assert_eq!(content.complaints, [], "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        (
            "hello",
            "1: it is no Kubernetes object: a mapping with apiVersion and kind is needed",
        ),
        ("{a: 1}", "1: it has no kind"),
        ("{kind: Service}", "1: Service has no apiVersion"),
        (
            "{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice}",
            "1: EndpointSlice of apiVersion discovery.k8s.io/v1beta1 is not read: discovery.k8s.io/v1 is",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: Web}}",
            "1: Service 'Web': 'Web' may only have lower-case letters, digits and '-', and must begin and end with a letter or digit",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: eighty}]}}",
            "1: Service 'web': spec.ports[0].port: invalid type: string \"eighty\", expected i32",
        ),
        (
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, annotations: {isthmus.io/global: true}}}",
            "1: Namespace 'shop': metadata.annotations.isthmus.io/global: invalid type: boolean `true`, expected a string (annotations and labels are texts: put the value in quotes)",
        ),
        (
            "{apiVersion: v1, kind: List}",
            "1: a List needs 'items', a sequence of objects",
        ),
        (
            "a: {{ .Values.x }}",
            "1: line 1, column 5: expected string scalar",
        ),
        (
            "a: 1\na: 2",
            "1: line 2, column 1: duplicate mapping key `a` is not allowed here",
        ),
    ] {
        assert_eq!(told(&yaml(text)), [expected]);
    }
}

#[test]
fn a_bad_json_file_is_told_with_its_line() {
    let content = read("{\n  \"kind\": }", Form::Json);

    assert_eq!(told(&content), ["1: expected value at line 2 column 11"]);
}

#[test]
fn aliases_that_grow_without_end_are_refused_in_little_time_and_memory() {
    let mut tens = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..30 {
        let ten = vec![format!("*a{}", i - 1); 10].join(",");
        tens.push_str(&format!("a{i}: &a{i} [{ten}]\n"));
    }
    let long = format!(
        "s: &s {}\nl: [{}]\n",
        "x".repeat(1 << 20),
        vec!["*s"; 1_000].join(",")
    );
    for text in [tens.as_str(), &long, "a: &a [*a]"] {
        let content = yaml(text);

        assert_eq!(content.objects, []);
        assert_eq!(content.complaints.len(), 1);
    }
}

#[test]
fn nesting_without_end_is_refused_before_the_stack_ends() {
    for open in ["[", "{a: ", "- ", "? ", "a:\n - "] {
        let content = yaml(&open.repeat(100_000));

        assert_eq!(content.complaints.len(), 1, "{open}");
    }
    let content = read(&"[".repeat(100_000), Form::Json);
    assert_eq!(content.complaints.len(), 1);
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC*", is_json: bool) {
        read(&text, if is_json { Form::Json } else { Form::Yaml });
    }

    #[test]
    fn any_text_of_yaml_signs_is_read_without_a_panic(
        text in "[-\\[\\]{}:,&*!|>?#%'\"~. \n\t\ra0]{0,200}"
    ) {
        read(&text, Form::Yaml);
    }

    #[test]
    fn a_manifest_with_any_bytes_changed_is_read_without_a_panic(
        at in prop::collection::vec((0..2_000_usize, any::<u8>()), 1..8)
    ) {
        let mut bytes = format!("{SERVICE}---\n{SLICE}").into_bytes();
        for (place, byte) in at {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        read(&String::from_utf8_lossy(&bytes), Form::Yaml);
    }

    #[test]
    fn any_values_in_the_fields_that_count_are_read_without_a_panic(
        texts in prop::collection::vec("\\PC{0,70}", 8), numbers in prop::collection::vec(any::<i32>(), 2)
    ) {
        let service = serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": texts[0], "annotations": {"isthmus.io/global": texts[1]}},
            "spec": {"clusterIPs": [texts[2]], "ports": [{"port": numbers[0], "name": texts[3], "protocol": texts[4]}]},
        });
        let slice = serde_json::json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6",
            "metadata": {"name": texts[5], "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": [texts[6]], "zone": texts[7], "nodeName": texts[1], "hostname": texts[2]}],
            "ports": [{"port": numbers[1], "name": texts[0]}],
        });
        read(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]}).to_string(), Form::Json);
    }

    #[test]
    fn cutting_loses_no_content(lines in prop::collection::vec("(---|--- a|a|#|%| ---|----|\\.\\.\\.|)", 0..30)) {
        let text = lines.join("\n");

        let pieces = cut::pieces(&text);

        let is_content = |line: &&str| line.contains('a') || line.trim().starts_with("---") && line.trim() != "---" ;
        let kept: usize = pieces.iter().map(|piece| piece.text.lines().filter(is_content).count()).sum();
        prop_assert_eq!(kept, text.lines().filter(is_content).count());
        for piece in pieces {
            let before = text.lines().take(piece.lines_before).map(|line| line.len() + 1).sum::<usize>();
            prop_assert!(text[before..].starts_with(piece.text));
        }
    }
}

const SERVICE: &str = r#"apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations:
    isthmus.io/global: "true"
    isthmus.io/affinity: local
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, "fd00:96::10"]
  ports:
  - {name: http, port: 80, targetPort: web}
  - {name: dns, port: 53, protocol: UDP}
"#;

const SLICE: &str = r#"apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: shop
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
endpoints:
- addresses: [10.1.0.2]
  nodeName: n1
ports:
- {name: http, port: 8080}
"#;

fn yaml(text: &str) -> Content {
    read(text, Form::Yaml)
}

fn told(content: &Content) -> Vec<String> {
    let complaints = content.complaints.iter();
    complaints
        .map(|complaint| format!("{}: {}", complaint.document, complaint.text))
        .collect()
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

//! Tests of what several files together say.

use cluster_registry::resource::{Resource, ResourceId};

use super::*;
use crate::manifest::document::{Form, read};

#[test]
fn of_two_objects_of_one_name_the_first_file_has_the_say() {
    let mut catalog = Catalog::default();
    set(&mut catalog, "b.yaml", &service("web", "10.96.0.2"));
    set(&mut catalog, "a.yaml", &service("web", "10.96.0.1"));

    assert_eq!(
        ips(&mut catalog),
        [("web".to_owned(), "10.96.0.1".to_owned())]
    );
    assert_eq!(
        problems(&catalog),
        [
            "b.yaml, document 1: Service default/web is already there in a.yaml, document 1: this one is ignored"
        ]
    );

    catalog.set("a.yaml", None);
    assert_eq!(
        ips(&mut catalog),
        [("web".to_owned(), "10.96.0.2".to_owned())]
    );
    assert_eq!(problems(&catalog), [] as [String; 0]);
}

#[test]
fn an_address_that_two_services_claim_leads_to_the_first() {
    let mut catalog = Catalog::default();
    set(&mut catalog, "a.yaml", &service("web", "10.96.0.1"));
    set(&mut catalog, "b.yaml", &service("api", "10.96.0.1"));

    assert_eq!(
        ips(&mut catalog),
        [("web".to_owned(), "10.96.0.1".to_owned())]
    );
    assert_eq!(
        problems(&catalog),
        [
            "b.yaml, document 1: Service default/api: cluster IP '10.96.0.1' is already that of default/web in a.yaml, document 1: it is left out"
        ]
    );

    set(&mut catalog, "a.yaml", &service("web", "10.96.0.9"));
    assert_eq!(
        ips(&mut catalog),
        [
            ("api".to_owned(), "10.96.0.1".to_owned()),
            ("web".to_owned(), "10.96.0.9".to_owned())
        ]
    );
}

#[test]
fn an_object_that_moves_to_another_file_does_not_change() {
    let mut catalog = Catalog::default();
    set(&mut catalog, "a.yaml", &service("web", "10.96.0.1"));
    catalog.settle().take_changes();

    catalog.set("a.yaml", None);
    set(&mut catalog, "b.yaml", &service("web", "10.96.0.1"));

    assert_eq!(catalog.settle().take_changes(), []);
}

#[test]
fn a_document_that_turns_bad_takes_only_its_object() {
    let mut catalog = Catalog::default();
    let good = format!(
        "{}---\n{}",
        service("api", "10.96.0.2"),
        service("web", "10.96.0.1")
    );
    set(&mut catalog, "a.yaml", &good);
    catalog.settle().take_changes();

    set(
        &mut catalog,
        "a.yaml",
        &good.replacen("spec:", "spec: [", 1),
    );

    let changes = catalog.settle().take_changes();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].1, None);
    assert_eq!(catalog.problems().len(), 1);
}

#[test]
fn of_very_many_problems_a_list_of_fixed_length_is_kept() {
    let mut catalog = Catalog::default();
    set(&mut catalog, "a.yaml", &"x\n---\n".repeat(MAX_PROBLEMS + 5));
    catalog.settle();

    let problems = catalog.problems();

    assert_eq!(problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(problems[MAX_PROBLEMS].reason, "and 5 more problems");
}

fn service(name: &str, ip: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  clusterIP: {ip}\n")
}

fn set(catalog: &mut Catalog, path: &str, text: &str) {
    catalog.set(path, Some(read(text, Form::Yaml)));
}

fn problems(catalog: &Catalog) -> Vec<String> {
    catalog.problems().iter().map(Problem::to_string).collect()
}

/// The addresses of all services.
fn ips(catalog: &mut Catalog) -> Vec<(String, String)> {
    let mut ips = Vec::new();
    for (id, resource) in catalog.settle().take_snapshot() {
        let (ResourceId::Service(name), Resource::Service(service)) = (id, resource) else {
            panic!();
        };
        for ip in &service.cluster_ips {
            ips.push((name.name.to_string(), ip.to_string()));
        }
    }
    ips
}

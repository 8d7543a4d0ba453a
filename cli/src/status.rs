//! `isthmus status`: the clusterset as its gateways and agents see it.

mod replicas;
mod tables;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::{
    args::From,
    exit::{Failure, NOT_WELL, UNREACHABLE},
    output::Output,
    sources::{self, Source, items, text},
};

pub(crate) fn run(from: &From, output: &Output) -> Result<(), Failure> {
    let sources = sources::fetch(from)?;
    output.document(&document(&sources), |_| tables::sections(&sources))?;
    let silent: Vec<_> = sources
        .iter()
        .filter(|source| source.status.is_err())
        .map(|source| source.name.as_str())
        .collect();
    if !silent.is_empty() {
        let error = anyhow!("no answer from {}", silent.join(", "));
        return Err(Failure::new(UNREACHABLE, error));
    }
    let problems = problems(&sources);
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::new(NOT_WELL, anyhow!("{}", problems.join("; "))))
}

fn document(sources: &[Source]) -> Value {
    let sources = sources.iter().map(|source| match &source.status {
        Ok(status) => json!({"source": source.name, "status": status}),
        Err(error) => json!({"source": source.name, "error": format!("{error:#}")}),
    });
    json!({
        "kind": "Status/v1",
        "sources": sources.collect::<Vec<_>>(),
    })
}

/// What is not as it should be, one short sentence each.
fn problems(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for gateway in sources.iter().filter_map(Source::gateway) {
        let name = text(&gateway["cluster"]);
        if gateway["ready"] == json!(false) {
            found.push(format!("the gateway of {name} is not ready"));
        }
        for peer in items(&gateway["peers"]) {
            if peer["state"] != "connected" {
                let peer = text(&peer["cluster"]);
                found.push(format!("{name} has no session with {peer}"));
            }
        }
        let problems = items(&gateway["source"]["problems"]).len();
        match problems {
            0 => {}
            1 => found.push(format!("{name}: 1 problem in its objects")),
            _ => found.push(format!("{name}: {problems} problems in its objects")),
        }
    }
    for agent in sources.iter().filter_map(Source::agent) {
        let name = format!("{}/{}", text(&agent["cluster"]), text(&agent["node"]));
        if agent["gateway"]["connected"] == json!(false) {
            found.push(format!(
                "the agent of {name} has no session with its gateway"
            ));
        }
        for cluster in items(&agent["clusters"]) {
            if cluster["state"] == "down" {
                let cluster = text(&cluster["cluster"]);
                found.push(format!("{name} has taken {cluster} out"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Section;

    #[test]
    fn a_lost_link_and_a_lost_gateway_are_problems() {
        let gateway = json!({
            "cluster": "east", "ready": true,
            "peers": [{"cluster": "west", "state": "lost"}, {"cluster": "north", "state": "connected"}],
        });
        let agent = json!({
            "cluster": "east", "node": "n1", "gateway": {"connected": false},
            "clusters": [{"cluster": "west", "state": "down"}],
        });

        let problems = problems(&[source(gateway), source(agent)]);

        assert_eq!(
            problems,
            [
                "east has no session with west",
                "the agent of east/n1 has no session with its gateway",
                "east/n1 has taken west out",
            ]
        );
    }

    #[test]
    fn problems_are_of_objects_whether_an_api_server_or_manifests_have_them() {
        for kind in ["kubernetes", "manifests"] {
            let problem = json!({"file": "Service shop/web", "document": 0, "reason": "no port"});
            let gateway = |problems: &[&Value]| {
                source(json!({"cluster": "east", "ready": true, "peers": [],
                    "source": {"kind": kind, "synced": true, "problems": problems}}))
            };

            let of = |count| problems(&[gateway(&vec![&problem; count])]);

            assert_eq!(of(0), Vec::<String>::new());
            assert_eq!(of(1), ["east: 1 problem in its objects"]);
            assert_eq!(of(2), ["east: 2 problems in its objects"]);
            let sections = tables::sections(&[gateway(&[&problem])]);
            let is_shown = |section: &Section| {
                matches!(section, Section::Table { title, rows, .. } if title == "Problems in objects"
                    && *rows == [["east", "Service shop/web", "-", "no port"]])
            };
            assert!(sections.iter().any(is_shown));
        }
    }

    #[test]
    fn a_status_of_an_unknown_version_is_still_shown() {
        let sections = tables::sections(&[source(json!({"cluster": "east", "peers": []}))]);

        assert_eq!(sections.len(), 2);
    }

    fn source(status: Value) -> Source {
        Source {
            name: "here".to_owned(),
            status: Ok(status),
        }
    }
}

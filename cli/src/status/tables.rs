//! The tables of `isthmus status`.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::replicas::replica_table;
use crate::{
    output::Section,
    sources::{Source, items, text},
};

/// The tables for people: gateways, links, nodes, tunnels, features, sessions, and who did not answer.
pub(super) fn sections(sources: &[Source]) -> Vec<Section> {
    let gateways: Vec<_> = sources.iter().filter_map(Source::gateway).collect();
    let agents: Vec<_> = sources.iter().filter_map(Source::agent).collect();
    let silent = sources.iter().filter_map(|source| {
        let error = source.status.as_ref().err()?;
        Some(vec![source.name.clone(), format!("{error:#}")])
    });
    let mut sections = Vec::new();
    if !gateways.is_empty() {
        sections.push(gateway_table(&gateways));
        sections.push(link_table(&gateways));
        sections.extend(problem_table(&gateways));
    }
    if !agents.is_empty() {
        sections.push(agent_table(&agents));
        sections.push(cluster_table(&agents));
        sections.push(tunnel_cluster_table(&agents));
        sections.push(tunnel_table(&agents));
        sections.push(feature_table(&agents));
    }
    sections.extend(replica_table(&gateways, &agents));
    let silent: Vec<_> = silent.collect();
    if !silent.is_empty() {
        sections.push(Section::Table {
            title: "No answer".to_owned(),
            header: vec!["SOURCE", "WHY"],
            rows: silent,
        });
    }
    sections
}

fn gateway_table(gateways: &[&Value]) -> Section {
    let row = |gateway: &&Value| {
        let nodes = items(&gateway["nodes"]);
        let connected = nodes.iter().filter(|n| n["connected"] == json!(true));
        vec![
            text(&gateway["cluster"]),
            text(&gateway["ready"]),
            text(&gateway["version"]),
            text(&gateway["source"]["kind"]),
            format!("{}/{}", connected.count(), nodes.len()),
            items(&gateway["services"]).len().to_string(),
            format!(
                "{}/{}",
                text(&gateway["exports"]["revision"]),
                text(&gateway["feed"]["revision"])
            ),
            text(&gateway["dns"]["queries"]),
        ]
    };
    Section::Table {
        title: "Gateways".to_owned(),
        header: vec![
            "CLUSTER",
            "READY",
            "VERSION",
            "SOURCE",
            "NODES",
            "SERVICES",
            "REVISION",
            "DNS QUERIES",
        ],
        rows: gateways.iter().map(row).collect(),
    }
}

fn link_table(gateways: &[&Value]) -> Section {
    let mut rows = Vec::new();
    for gateway in gateways {
        for peer in items(&gateway["peers"]) {
            let refused = peer["refused"].as_object();
            let refused: u64 = refused
                .into_iter()
                .flat_map(|r| r.values().filter_map(Value::as_u64))
                .sum();
            rows.push(vec![
                text(&gateway["cluster"]),
                text(&peer["cluster"]),
                text(&peer["state"]),
                since(&peer["since_unix_ms"]),
                milliseconds(&peer["rtt_us"]),
                text(&peer["address"]),
                format!("{}/{}", text(&peer["services"]), text(&peer["endpoints"])),
                format!("{}/{refused}", text(&peer["accepted"])),
                text(&peer["reason"]),
            ]);
        }
    }
    Section::Table {
        title: "Links".to_owned(),
        header: vec![
            "CLUSTER",
            "PEER",
            "STATE",
            "SINCE",
            "RTT",
            "ADDRESS",
            "SVC/EP",
            "TAKEN/REFUSED",
            "REASON",
        ],
        rows,
    }
}

fn problem_table(gateways: &[&Value]) -> Option<Section> {
    let mut rows = Vec::new();
    for gateway in gateways {
        for problem in items(&gateway["source"]["problems"]) {
            // None has the number 0: it is about a whole file, or an object of an API server.
            let document = Some(&problem["document"]).filter(|number| **number != json!(0));
            rows.push(vec![
                text(&gateway["cluster"]),
                text(&problem["file"]),
                document.map_or_else(|| "-".to_owned(), text),
                text(&problem["reason"]),
            ]);
        }
    }
    (!rows.is_empty()).then(|| Section::Table {
        title: "Problems in objects".to_owned(),
        header: vec!["CLUSTER", "FILE OR OBJECT", "DOCUMENT", "REASON"],
        rows,
    })
}

fn agent_table(agents: &[&Value]) -> Section {
    let row = |agent: &&Value| {
        let drops = agent["drops"].as_object();
        let drops: u64 = drops
            .into_iter()
            .flat_map(|d| d.values().filter_map(Value::as_u64))
            .sum();
        vec![
            format!("{}/{}", text(&agent["cluster"]), text(&agent["node"])),
            text(&agent["gateway"]["connected"]),
            milliseconds(&agent["gateway"]["rtt_us"]),
            text(&agent["kernel"]["release"]),
            text(&agent["tunnel"]["implementation"]),
            text(&agent["maps"]["services"]),
            text(&agent["maps"]["backends"]),
            drops.to_string(),
            text(&agent["last_error"]),
        ]
    };
    Section::Table {
        title: "Agents".to_owned(),
        header: vec![
            "NODE",
            "GATEWAY",
            "RTT",
            "KERNEL",
            "TUNNEL",
            "SERVICES",
            "BACKENDS",
            "DROPS",
            "LAST ERROR",
        ],
        rows: agents.iter().map(row).collect(),
    }
}

fn cluster_table(agents: &[&Value]) -> Section {
    let mut rows = Vec::new();
    for agent in agents {
        for cluster in items(&agent["clusters"]) {
            rows.push(vec![
                format!("{}/{}", text(&agent["cluster"]), text(&agent["node"])),
                text(&cluster["cluster"]),
                text(&cluster["state"]),
                text(&cluster["control"]),
                text(&cluster["path"]),
                milliseconds(&cluster["rtt_us"]),
                since(&cluster["since_unix_ms"]),
                text(&cluster["reason"]),
            ]);
        }
    }
    Section::Table {
        title: "Clusters as the nodes see them".to_owned(),
        header: vec![
            "NODE", "CLUSTER", "STATE", "CONTROL", "PATH", "RTT", "SINCE", "REASON",
        ],
        rows,
    }
}

/// How each node reaches each other cluster.
fn tunnel_cluster_table(agents: &[&Value]) -> Section {
    let mut rows = Vec::new();
    for agent in agents {
        let tunnel = &agent["tunnel"];
        for cluster in items(&tunnel["clusters"]) {
            let handshake = cluster["last_handshake_unix_s"].as_u64();
            rows.push(vec![
                format!("{}/{}", text(&agent["cluster"]), text(&agent["node"])),
                text(&cluster["cluster"]),
                text(&cluster["peers"]),
                format!(
                    "{} ({})",
                    text(&tunnel["implementation"]),
                    text(&tunnel["reason"])
                ),
                milliseconds(&cluster["rtt_us"]),
                percent(&cluster["loss_per_mille"]),
                handshake.map_or_else(|| "never".to_owned(), |s| ago(Duration::from_secs(s))),
                text(&cluster["rx_bytes"]),
                text(&cluster["tx_bytes"]),
            ]);
        }
    }
    Section::Table {
        title: "Ways to other clusters".to_owned(),
        header: vec![
            "NODE",
            "CLUSTER",
            "PEERS",
            "WIREGUARD",
            "RTT",
            "LOSS",
            "HANDSHAKE",
            "RX BYTES",
            "TX BYTES",
        ],
        rows,
    }
}

fn percent(per_mille: &Value) -> String {
    let per_mille = per_mille.as_f64();
    per_mille.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share / 10.0))
}

fn tunnel_table(agents: &[&Value]) -> Section {
    let mut rows = Vec::new();
    for agent in agents {
        for peer in items(&agent["tunnel"]["peers"]) {
            let handshake = peer["last_handshake_unix_s"].as_u64();
            rows.push(vec![
                format!("{}/{}", text(&agent["cluster"]), text(&agent["node"])),
                format!("{}/{}", text(&peer["cluster"]), text(&peer["node"])),
                text(&peer["endpoint"]),
                handshake.map_or_else(|| "never".to_owned(), |s| ago(Duration::from_secs(s))),
                text(&peer["rx_bytes"]),
                text(&peer["tx_bytes"]),
            ]);
        }
    }
    Section::Table {
        title: "Tunnels".to_owned(),
        header: vec![
            "NODE",
            "TO",
            "ENDPOINT",
            "HANDSHAKE",
            "RX BYTES",
            "TX BYTES",
        ],
        rows,
    }
}

/// One row per choice, with the nodes that made it: on like machines the table is as short as on one.
fn feature_table(agents: &[&Value]) -> Section {
    let mut nodes_by_choice: BTreeMap<[String; 3], Vec<String>> = BTreeMap::new();
    for agent in agents {
        let node = format!("{}/{}", text(&agent["cluster"]), text(&agent["node"]));
        for choice in choices(agent) {
            let nodes = nodes_by_choice.entry(choice).or_default();
            nodes.push(node.clone());
        }
    }
    let rows = nodes_by_choice.into_iter().map(|(choice, nodes)| {
        let nodes = if nodes.len() == agents.len() {
            "all".to_owned()
        } else {
            nodes.join(" ")
        };
        choice.into_iter().chain([nodes]).collect()
    });
    Section::Table {
        title: "What the kernel's features led to".to_owned(),
        header: vec!["FEATURE", "CHOSEN", "REASON", "NODES"],
        rows: rows.collect(),
    }
}

/// What one agent chose and why; the tunnel is such a choice too.
fn choices(agent: &Value) -> Vec<[String; 3]> {
    let tunnel = &agent["tunnel"];
    let mut choices = Vec::new();
    if tunnel["implementation"].is_string() {
        let (chosen, reason) = (text(&tunnel["implementation"]), text(&tunnel["reason"]));
        choices.push(["tunnel".to_owned(), chosen, reason]);
    }
    let features = agent["kernel"]["features"].as_object();
    for (name, feature) in features.into_iter().flatten() {
        let (chosen, reason) = (text(&feature["chosen"]), text(&feature["reason"]));
        choices.push([name.clone(), chosen, reason]);
    }
    choices
}

pub(super) fn milliseconds(microseconds: &Value) -> String {
    let ms = microseconds.as_f64().map(|us| us / 1000.0);
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

fn since(unix_ms: &Value) -> String {
    let at = unix_ms.as_u64().filter(|ms| *ms > 0);
    at.map_or_else(|| "-".to_owned(), |ms| ago(Duration::from_millis(ms)))
}

/// How long ago a moment, counted from 1970, was.
fn ago(at: Duration) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.unwrap_or_default().saturating_sub(at).as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

//! The table of `isthmus status` that says with which replicas of a cluster's gateway there are sessions, and which leads.

use serde_json::{Value, json};

use super::tables::milliseconds;
use crate::{
    output::Section,
    sources::{items, text},
};

/// One row per session with a replica; none without sessions, as with daemons that do not tell.
pub(super) fn replica_table(gateways: &[&Value], agents: &[&Value]) -> Option<Section> {
    let mut rows = Vec::new();
    for gateway in gateways {
        for peer in items(&gateway["peers"]) {
            let at = text(&gateway["cluster"]);
            rows.extend(rows_of(&at, &peer["cluster"], &peer["replicas"]));
        }
    }
    for agent in agents {
        let at = format!("{}/{}", text(&agent["cluster"]), text(&agent["node"]));
        let replicas = &agent["gateway"]["replicas"];
        rows.extend(rows_of(&at, &agent["cluster"], replicas));
    }
    (!rows.is_empty()).then(|| Section::Table {
        title: "Sessions with gateways".to_owned(),
        header: vec!["AT", "CLUSTER", "REPLICA", "LEAD", "RTT", "ADDRESS"],
        rows,
    })
}

fn rows_of(at: &str, cluster: &Value, replicas: &Value) -> Vec<Vec<String>> {
    let row = |replica: &Value| {
        let is_lead = replica["lead"] == json!(true);
        vec![
            at.to_owned(),
            text(cluster),
            text(&replica["replica"]),
            if is_lead { "yes" } else { "no" }.to_owned(),
            milliseconds(&replica["rtt_us"]),
            text(&replica["address"]),
        ]
    };
    items(replicas).iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_replica_has_a_row_that_says_whether_it_leads() {
        let gateway = json!({"cluster": "east", "peers": [{"cluster": "west", "replicas": [
            {"replica": "gw-a", "lead": true, "rtt_us": 1500, "address": "192.0.2.1:4700"},
            {"replica": null, "lead": false},
        ]}]});
        let agent = json!({"cluster": "east", "node": "n1", "gateway": {"replicas": [
            {"replica": "gw-0", "lead": true},
        ]}});

        let Some(Section::Table { rows, .. }) = replica_table(&[&gateway], &[&agent]) else {
            panic!("no table");
        };

        assert_eq!(
            rows,
            [
                ["east", "west", "gw-a", "yes", "1.5 ms", "192.0.2.1:4700"],
                ["east", "west", "-", "no", "-", "-"],
                ["east/n1", "east", "gw-0", "yes", "-", "-"],
            ]
        );
    }

    #[test]
    fn there_is_no_table_of_sessions_with_daemons_that_tell_none() {
        let gateway = json!({"cluster": "east", "peers": [{"cluster": "west"}]});

        assert!(replica_table(&[&gateway], &[]).is_none());
    }
}

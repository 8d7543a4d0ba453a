//! `isthmus services`: each service, and how many backends each cluster gives it.

use serde_json::{Value, json};

use crate::{
    args::Services,
    exit::{Failure, UNREACHABLE},
    output::{Output, Section},
    sources::{self, Source, items, text},
};

pub(crate) fn run(args: &Services, output: &Output) -> Result<(), Failure> {
    let sources = sources::fetch(&args.from)?;
    let gateways: Vec<_> = sources.iter().filter_map(Source::gateway).collect();
    if gateways.is_empty() {
        let error = anyhow::anyhow!("no gateway answers: agents don't know the services' names");
        return Err(Failure::new(UNREACHABLE, error));
    }
    let mut services = Vec::new();
    for gateway in gateways {
        for service in items(&gateway["services"]) {
            let wanted = args.namespace.as_deref();
            if wanted.is_some_and(|namespace| service["namespace"] != namespace) {
                continue;
            }
            if args.global && service["global"] != json!(true) {
                continue;
            }
            services.push(json!({"seen_by": gateway["cluster"], "service": service}));
        }
    }
    let document = json!({"kind": "Services/v1", "services": services});
    output.document(&document, |_| vec![table(&services)])?;
    Ok(())
}

fn table(services: &[Value]) -> Section {
    let row = |seen: &Value| {
        let service = &seen["service"];
        let addresses: Vec<_> = items(&service["cluster_ips"]).iter().map(text).collect();
        let ports: Vec<_> = items(&service["ports"]).iter().map(port).collect();
        vec![
            text(&seen["seen_by"]),
            format!("{}/{}", text(&service["namespace"]), text(&service["name"])),
            text(&service["global"]),
            text(&service["affinity"]),
            addresses.join(" "),
            ports.join(" "),
            backends(&service["backends"]),
        ]
    };
    Section::Table {
        title: String::new(),
        header: vec![
            "CLUSTER",
            "SERVICE",
            "GLOBAL",
            "AFFINITY",
            "CLUSTER IPS",
            "PORTS",
            "READY BACKENDS",
        ],
        rows: services.iter().map(row).collect(),
    }
}

/// A port in Kubernetes' notation, if it is not given so already.
fn port(port: &Value) -> String {
    match port.as_object() {
        Some(_) => format!("{}/{}", text(&port["port"]), text(&port["protocol"])),
        None => text(port),
    }
}

/// Ready and all backends per cluster, as in `east 1/1, west 2/2`.
fn backends(by_cluster: &Value) -> String {
    let clusters = by_cluster.as_object().into_iter().flatten();
    let parts: Vec<_> = clusters
        .map(|(cluster, count)| {
            let (ready, total) = (text(&count["ready"]), text(&count["total"]));
            format!("{cluster} {ready}/{total}")
        })
        .collect();
    if parts.is_empty() {
        return "none".to_owned();
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_counted_per_cluster() {
        let by_cluster =
            json!({"west": {"ready": 2, "total": 3}, "east": {"ready": 1, "total": 1}});

        assert_eq!(backends(&by_cluster), "east 1/1, west 2/3");
        assert_eq!(backends(&json!({})), "none");
    }

    #[test]
    fn a_port_has_its_protocol() {
        assert_eq!(port(&json!({"port": 80, "protocol": "TCP"})), "80/TCP");
        assert_eq!(port(&json!("80/TCP")), "80/TCP");
    }
}

//! Computes an import from the exports of one name: the union of their ports, and of everything else the oldest's.

use std::fmt;

use super::{Conflict, ConflictReason, Export, Import, ImportKind, Rank};
use crate::{
    name::ClusterName,
    service::{Service, ServicePort},
    traffic::SessionAffinity,
};

/// How many ports a message about conflicting ports names.
const MAX_PORTS_TOLD: usize = 4;

/// One cluster's valid export and the service that it exports.
#[derive(Debug, Clone, Copy)]
struct Exporter<'a> {
    cluster: &'a ClusterName,
    service: &'a Service,
    export: &'a Export,
}

/// The import that some clusters' definitions of one service add up to; `None` when none of them exports it.
///
/// Definitions without a valid export do not count. The order in which they are given does not matter.
pub fn import<'a>(
    definitions: impl IntoIterator<Item = (&'a ClusterName, &'a Service)>,
) -> Option<Import> {
    let mut exporters: Vec<Exporter<'a>> = definitions
        .into_iter()
        .filter_map(|(cluster, service)| {
            Some(Exporter {
                cluster,
                service,
                export: service.mcs_export()?,
            })
        })
        .collect();
    exporters.sort_by_key(|exporter| (exporter.export.created, exporter.cluster));
    let oldest = *exporters.first()?;
    let Exporter {
        service, export, ..
    } = oldest;
    let (ports, port_conflict) = ports(&exporters);
    let comparison = Comparison {
        exporters: &exporters,
        oldest,
    };
    Some(Import {
        oldest: Rank {
            created: export.created,
            cluster: oldest.cluster.clone(),
        },
        kind: kind(service),
        ports,
        ip_families: service.ip_families,
        session_affinity: service.session_affinity,
        internal_traffic_policy: service.internal_traffic_policy,
        traffic_distribution: service.traffic_distribution,
        labels: export.labels.clone(),
        annotations: export.annotations.clone(),
        clusters: exporters.iter().map(|e| e.cluster.clone()).collect(),
        conflicts: port_conflict
            .into_iter()
            .chain(comparison.of_definitions())
            .chain(comparison.of_exports())
            .collect(),
    })
}

/// Whether two ports are one to a client: node ports and application protocols aside.
pub(super) fn is_same_port(one: &ServicePort, other: &ServicePort) -> bool {
    one.name == other.name && one.protocol == other.protocol && one.port == other.port
}

fn kind(service: &Service) -> ImportKind {
    if service.is_headless() {
        ImportKind::Headless
    } else {
        ImportKind::ClusterSetIp
    }
}

/// The union of the ports: of those that clash, by name or by protocol and number, the oldest export's.
fn ports(exporters: &[Exporter<'_>]) -> (Vec<ServicePort>, Option<Conflict>) {
    let mut union: Vec<(ServicePort, &ClusterName)> = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    for exporter in exporters {
        for port in &exporter.service.ports {
            let clash = union.iter().find(|(taken, _)| {
                taken.name == port.name
                    || (taken.protocol == port.protocol && taken.port == port.port)
            });
            match clash {
                None => {
                    let mut port = port.clone();
                    port.node_port = None;
                    union.push((port, exporter.cluster));
                }
                Some((taken, _)) if is_same_port(taken, port) => {
                    if taken.app_protocol != port.app_protocol {
                        parts.push(format!(
                            "port {} of cluster {} has another appProtocol",
                            Shown(port),
                            exporter.cluster
                        ));
                    }
                }
                Some((taken, winner)) => parts.push(format!(
                    "port {} of cluster {} is left out, for {} of cluster {winner}, whose export is older, counts",
                    Shown(port),
                    exporter.cluster,
                    Shown(taken)
                )),
            }
        }
    }
    for (port, first) in &union {
        let serving = exporters
            .iter()
            .filter(|e| e.service.ports.iter().any(|own| is_same_port(own, port)))
            .count();
        if serving < exporters.len() {
            parts.push(format!(
                "port {} of cluster {first} leads only to the {serving} of {} clusters that export it",
                Shown(port),
                exporters.len()
            ));
        }
    }
    let ports = union.into_iter().map(|(port, _)| port).collect();
    (ports, port_conflict(&parts))
}

fn port_conflict(parts: &[String]) -> Option<Conflict> {
    let told = parts.get(..MAX_PORTS_TOLD.min(parts.len()))?;
    if told.is_empty() {
        return None;
    }
    let mut message = told.join("; ");
    if parts.len() > MAX_PORTS_TOLD {
        message.push_str(&format!("; and {} more", parts.len() - MAX_PORTS_TOLD));
    }
    Some(Conflict {
        reason: ConflictReason::Port,
        message,
    })
}

/// The exports of one name, to be compared with the one that counts.
#[derive(Debug, Clone, Copy)]
struct Comparison<'a> {
    exporters: &'a [Exporter<'a>],
    oldest: Exporter<'a>,
}

impl Comparison<'_> {
    /// A conflict if some exports differ from the oldest's value of a field.
    fn conflict(
        self,
        reason: ConflictReason,
        field: &str,
        differs: impl Fn(&Exporter<'_>) -> bool,
    ) -> Option<Conflict> {
        let differing = self.exporters.iter().filter(|e| differs(e)).count();
        (differing > 0).then(|| Conflict {
            reason,
            message: format!(
                "{field} of cluster {}, whose export is the oldest, counts; {differing} of {} clusters differ",
                self.oldest.cluster,
                self.exporters.len()
            ),
        })
    }

    fn of_definitions(self) -> impl Iterator<Item = Conflict> {
        let own = self.oldest.service;
        let (type_, policy) = (kind(own), own.internal_traffic_policy);
        let seconds = timeout(own).map_or_else(String::new, |seconds| format!("{seconds} s"));
        let distribution = own
            .traffic_distribution
            .map_or_else(String::new, |distribution| distribution.to_string());
        let conflicts = [
            self.conflict(ConflictReason::Type, &format!("type {type_}"), |e| {
                kind(e.service) != type_
            }),
            self.conflict(
                ConflictReason::SessionAffinity,
                &format!("sessionAffinity {}", own.session_affinity),
                |e| timeout(e.service).is_some() != timeout(own).is_some(),
            ),
            self.conflict(
                ConflictReason::SessionAffinityConfig,
                &format!("the sessionAffinity timeout {seconds}"),
                |e| {
                    let both = timeout(e.service).zip(timeout(own));
                    both.is_some_and(|(one, other)| one != other)
                },
            ),
            self.conflict(
                ConflictReason::InternalTrafficPolicy,
                &format!("internalTrafficPolicy {policy}"),
                |e| e.service.internal_traffic_policy != policy,
            ),
            self.conflict(
                ConflictReason::TrafficDistribution,
                &format!("trafficDistribution '{distribution}'"),
                |e| e.service.traffic_distribution != own.traffic_distribution,
            ),
            self.conflict(
                ConflictReason::IpFamily,
                &format!("ipFamilies {}", own.ip_families),
                |e| lacks_family(e.service, own),
            ),
        ];
        conflicts.into_iter().flatten()
    }

    fn of_exports(self) -> impl Iterator<Item = Conflict> {
        let Export {
            labels,
            annotations,
            ..
        } = self.oldest.export;
        // The sets are not shown: they may be long.
        let conflicts = [
            self.conflict(
                ConflictReason::Labels,
                &format!("the exported labels ({} of them)", labels.len()),
                |e| e.export.labels != *labels,
            ),
            self.conflict(
                ConflictReason::Annotations,
                &format!("the exported annotations ({} of them)", annotations.len()),
                |e| e.export.annotations != *annotations,
            ),
        ];
        conflicts.into_iter().flatten()
    }
}

fn timeout(service: &Service) -> Option<u64> {
    match service.session_affinity {
        SessionAffinity::None => None,
        SessionAffinity::ClientIp { timeout } => Some(timeout.as_secs()),
    }
}

/// Whether clients of one of the import's families cannot reach a cluster's endpoints.
fn lacks_family(service: &Service, oldest: &Service) -> bool {
    // A definition that names no families is not known to lack one.
    !service.ip_families.is_empty()
        && oldest
            .ip_families
            .iter()
            .any(|family| !service.ip_families.contains(family))
}

/// A port as messages show it.
struct Shown<'a>(&'a ServicePort);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.0.name {
            write!(f, "{name} ")?;
        }
        write!(f, "{}/{}", self.0.port, self.0.protocol)
    }
}

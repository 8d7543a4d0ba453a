//! The commands that a person can go on with once a lab is up, so that demo and command line suggest the same.

use crate::{mode::Mode, plan::Plan};

/// Commands of `isthmus` for a lab, each a line without the program's path.
pub fn hints(plan: &Plan) -> Vec<String> {
    let lab = plan.lab();
    let mut lines = vec![format!("isthmus lab status {lab}")];
    if plan.programs.is_some() {
        lines.push(format!("isthmus status --lab {lab}"));
    }
    if let Some(pod) = plan.pods.first() {
        lines.push(format!("isthmus lab exec --lab {lab} {} -- sh", pod.path()));
    }
    if let [first, second, ..] = &plan.topology.clusters[..] {
        let (first, second) = (&first.name, &second.name);
        lines.push(format!("isthmus lab cut --lab {lab} {first} {second}"));
        lines.push(format!("isthmus lab heal --lab {lab} {first} {second}"));
    }
    lines.push(format!("isthmus lab down {lab}"));
    lines
}

/// For each API server of a lab the command that asks it; none without API servers.
pub fn kubectl(plan: &Plan) -> Vec<String> {
    match plan.mode {
        Mode::Manifests => Vec::new(),
        Mode::Kubernetes => {
            let clusters = plan.topology.clusters.iter();
            let commands = clusters.filter_map(|cluster| {
                let netns = &plan.gateway_node(&cluster.name).ok()?.netns;
                let kubeconfig = plan.kubeconfig(&cluster.name);
                let kubeconfig = kubeconfig.display();
                Some(format!(
                    "ip netns exec {netns} kubectl --kubeconfig {kubeconfig} get services -A"
                ))
            });
            commands.collect()
        }
    }
}

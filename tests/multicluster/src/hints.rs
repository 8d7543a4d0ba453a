//! The commands that a person can go on with once a lab is up, so that demo and command line suggest the same.

use crate::plan::Plan;

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

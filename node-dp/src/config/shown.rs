//! The configuration for people to read, as `--print-config` shows it.

use std::{collections::BTreeMap, fmt};

use serde_json::json;

use super::Config;
use crate::tunnel;

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tunnel = self.tunnel.map_or("off", tunnel_label);
        let json = json!({
            "cluster": self.cluster.as_str(),
            "node": self.node.as_str(),
            "trust-domain": self.trust_domain.as_str(),
            "credentials": self.credentials,
            "gateway": self.gateways.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "state-dir": self.state_dir,
            "bpffs": self.bpffs,
            "map-sizes": self.map_sizes.by_name().collect::<BTreeMap<_, _>>(),
            "cgroup": self.cgroup,
            "device": self.devices,
            "xdp": self.xdp.to_string(),
            "tunnel-address": self.tunnel_addresses,
            "tunnel": tunnel,
            "encrypt-within-cluster": self.encrypt_within_cluster.label(),
            "tunnel-only": self.tunnel_only,
            "tunnel-device": self.tunnel_device,
            "tunnel-mtu": self.tunnel_mtu,
            "tunnel-key-lifetime": format!("{}s", self.tunnel_key_lifetime.unwrap_or_default().as_secs()),
            "wireguard-port": self.wireguard_port,
            "probe-port": self.probe_port,
            "probe-interval": format!("{}ms", self.probe.interval.as_millis()),
            "probe-multiplier": self.probe.multiplier,
            "admin-listen": self.admin_listen,
            "healthz-listen": self.healthz_listen,
            "otlp-endpoint": self.otlp_endpoint,
            "log-format": self.log_format.to_string(),
            "shutdown-deadline": format!("{}ms", self.shutdown_deadline.as_millis()),
        });
        write!(f, "{json:#}")
    }
}

fn tunnel_label(mode: tunnel::Mode) -> &'static str {
    match mode {
        tunnel::Mode::Auto => "auto",
        tunnel::Mode::Kernel => "kernel",
        tunnel::Mode::Userspace => "userspace",
    }
}

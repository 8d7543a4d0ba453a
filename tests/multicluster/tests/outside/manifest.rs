//! The manifest of east's service with all kinds of frontends for clients from outside.

/// The addresses of its frontends, documentation ranges that the host routes to a node.
pub(crate) const VIP_V4: &str = "203.0.113.5";
pub(crate) const VIP_V6: &str = "2001:db8:113::5";
pub(crate) const EXTERNAL_V4: &str = "203.0.113.7";
pub(crate) const EXTERNAL_V6: &str = "2001:db8:113::7";

/// Its node ports.
pub(crate) const NODE_PORT_TCP: u16 = 30_080;
pub(crate) const NODE_PORT_UDP: u16 = 30_007;

/// Where load balancers ask for its local endpoints.
pub(crate) const HEALTH_PORT: u16 = 32_100;

/// Which cluster's backends are preferred.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Affinity {
    Local,
    Remote,
}

/// `externalTrafficPolicy`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Policy {
    Cluster,
    Local,
}

impl Policy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

/// What changes from one row of the table to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Web {
    pub(crate) affinity: Affinity,
    pub(crate) policy: Policy,
}

impl Web {
    pub(crate) fn manifest(self) -> String {
        let affinity = match self.affinity {
            Affinity::Local => "local",
            Affinity::Remote => "remote",
        };
        let policy = self.policy.name();
        format!(
            r#"apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations:
    isthmus.io/global: "true"
    isthmus.io/affinity: {affinity}
spec:
  type: LoadBalancer
  externalTrafficPolicy: {policy}
  healthCheckNodePort: {HEALTH_PORT}
  externalIPs: ["{EXTERNAL_V4}", "{EXTERNAL_V6}"]
  selector:
    app: web
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  clusterIP: 10.101.0.10
  clusterIPs: [10.101.0.10, "fd00:101:1::10"]
  ports:
    - name: http
      protocol: TCP
      port: 80
      nodePort: {NODE_PORT_TCP}
      targetPort: http
    - name: echo
      protocol: UDP
      port: 7
      nodePort: {NODE_PORT_UDP}
      targetPort: echo
status:
  loadBalancer:
    ingress:
      - ip: "{VIP_V4}"
      - ip: "{VIP_V6}"
"#
        )
    }
}

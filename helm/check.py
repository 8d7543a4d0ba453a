"""Lints and installs the chart with the real Helm engine, against an API server that only takes notes.

Every value set of isthmus/ci must install, what it makes must hold a few promises, and every value set of
isthmus/ci/refused.yaml must be refused for the reason it gives. Ends with 1 when something is wrong.
"""

import asyncio
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import yaml

# The wheel asks for Python 3.12 and works with Debian 12's 3.11, so pip must be told to take it.
ENGINE = "helm-sdkpy==0.1.32"

HELM = pathlib.Path(__file__).resolve().parent
CHART = HELM / "isthmus"
NAMESPACE = "isthmus-system"

# The type of the Secret in which Helm remembers a release.
RELEASE = "helm.sh/release.v1"

# The kinds that the API server knows: group and version, plural, kind, whether namespaced.
KINDS = [
    ("v1", "secrets", "Secret", True),
    ("v1", "services", "Service", True),
    ("v1", "serviceaccounts", "ServiceAccount", True),
    ("apps/v1", "deployments", "Deployment", True),
    ("apps/v1", "daemonsets", "DaemonSet", True),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", True),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", False),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", False),
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", False),
    ("rbac.authorization.k8s.io/v1", "roles", "Role", True),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", True),
]

# What the gateway may read anywhere, and what it may write, as verb and resource: what its sources and its sink do.
READS = {
    (verb, resource)
    for verb in ("get", "list", "watch")
    for resource in (
        "services",
        "nodes",
        "namespaces",
        "endpointslices.discovery.k8s.io",
        "serviceexports.multicluster.x-k8s.io",
        "serviceimports.multicluster.x-k8s.io",
        "clusterlinks.isthmus.io",
    )
}
WRITES = {
    "ClusterRole": {
        ("create", "serviceimports.multicluster.x-k8s.io"),
        ("patch", "serviceimports.multicluster.x-k8s.io"),
        ("delete", "serviceimports.multicluster.x-k8s.io"),
        ("patch", "serviceimports/status.multicluster.x-k8s.io"),
        ("update", "serviceimports/finalizers.multicluster.x-k8s.io"),
        ("patch", "serviceexports/status.multicluster.x-k8s.io"),
        ("create", "endpointslices.discovery.k8s.io"),
        ("patch", "endpointslices.discovery.k8s.io"),
        ("delete", "endpointslices.discovery.k8s.io"),
        ("patch", "services/status"),
        ("patch", "clusterlinks/status.isthmus.io"),
        ("create", "events.events.k8s.io"),
        ("patch", "events.events.k8s.io"),
    },
    # In the gateway's own namespace.
    "Role": {
        ("create", "leases.coordination.k8s.io"),
        ("get", "leases.coordination.k8s.io"),
        ("update", "leases.coordination.k8s.io"),
    },
}

# Where each daemon's flags are declared, and which flags have no value in the chart because they are not settings.
DAEMONS = {
    "gateway": ("mesh-gateway/src/args.rs", {"manifests", "print-config"}),
    "agent": ("node-dp/src/config.rs", {"print-config", "uninstall"}),
}


class ApiServer(http.server.BaseHTTPRequestHandler):
    """Answers discovery, has no objects, and takes every object that is created."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/version":
            return self.answer(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        groups = sorted({version for version, *_ in KINDS})
        if path == "/api":
            return self.answer(200, {"kind": "APIVersions", "versions": ["v1"]})
        if path == "/apis":
            return self.answer(200, group_list(group for group in groups if "/" in group))
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in groups:
            return self.answer(200, resource_list(version))
        if path.endswith("/secrets"):
            return self.answer(200, {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []})
        definition = self.server.definitions.get(path.rsplit("/", 1)[-1])
        if definition and "/customresourcedefinitions/" in path:
            return self.answer(200, definition)
        self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})

    def do_POST(self):
        created = self.take_body()
        if created["kind"] == "CustomResourceDefinition":
            # Helm waits until the API server serves the new kind.
            created["status"] = {"conditions": [{"type": t, "status": "True"} for t in ("Established", "NamesAccepted")]}
            self.server.definitions[created["metadata"]["name"]] = created
        elif created.get("type") != RELEASE:
            self.server.created.append(created)
        self.answer(201, created)

    def do_PUT(self):
        self.answer(200, self.take_body())

    def take_body(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # Only the record of the release itself comes as protobuf; nobody reads it again.
        if self.headers["Content-Type"].endswith("protobuf"):
            return {"kind": "Secret", "apiVersion": "v1", "metadata": {}, "type": RELEASE}
        return json.loads(body)

    def answer(self, code, document):
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def group_list(versions):
    groups = []
    for full in versions:
        name, version = full.split("/")
        one = {"groupVersion": full, "version": version}
        groups.append({"name": name, "versions": [one], "preferredVersion": one})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def resource_list(version):
    resources = [
        {"name": name, "kind": kind, "namespaced": namespaced, "verbs": ["create", "get", "list", "update"]}
        for group, name, kind, namespaced in KINDS
        if group == version
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


class Helm:
    """The Helm engine and the API server that it installs to."""

    def __init__(self, engine):
        self.engine = engine
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
        self.server.created = []
        self.server.definitions = {}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_port}"
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "check", "cluster": {"server": url}}],
            "contexts": [{"name": "check", "context": {"cluster": "check", "user": "check"}}],
            "users": [{"name": "check", "user": {}}],
            "current-context": "check",
        }
        self.config = engine.Configuration(namespace=NAMESPACE, kubeconfig=yaml.safe_dump(kubeconfig))

    def lint(self, values):
        """The lint's complaints about the chart with these values as its defaults."""
        with tempfile.TemporaryDirectory() as scratch:
            chart = pathlib.Path(scratch) / CHART.name
            shutil.copytree(CHART, chart)
            defaults = yaml.safe_load((chart / "values.yaml").read_text())
            (chart / "values.yaml").write_text(yaml.safe_dump(merge(defaults, values)))
            result = asyncio.run(self.engine.Lint(self.config).run(str(chart)))
        # Errors are severity 3, warnings 2; the advice to add an icon is 1.
        found = [message for message in result.get("Messages") or [] if message["Severity"] >= 2]
        return [f"lint: {error}" for error in [*found, *(result.get("Errors") or [])]]

    def install(self, values):
        """The objects that an installation makes."""
        self.server.created.clear()
        self.server.definitions.clear()
        install = self.engine.Install(self.config)
        asyncio.run(install.run("isthmus", str(CHART), values=values, wait=False, timeout=30))
        return list(self.server.created)


def merge(defaults, values):
    """What Helm makes of a chart's values and a user's."""
    merged = dict(defaults)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def problems_of(objects):
    """Which promises the objects of an installation break."""
    kinds = sorted(one["kind"] for one in objects)
    has_replicas = any(one["kind"] == "Deployment" and one["spec"]["replicas"] > 1 for one in objects)
    expected = ["ClusterRole", "ClusterRoleBinding", "DaemonSet", "Deployment", "Role", "RoleBinding"]
    expected += ["Service", "Service", "ServiceAccount", "ServiceAccount"]
    if has_replicas:
        expected += ["PodDisruptionBudget", "Service"]
    if kinds != sorted(expected):
        return [f"made {kinds}"]
    problems = []
    by_kind = {one["kind"]: one for one in objects}
    for kind in ("ClusterRole", "Role"):
        for rule in by_kind[kind]["rules"]:
            for right in rights_of(rule) - READS - WRITES[kind]:
                problems.append(f"the gateway's {kind} may do too much: {' '.join(right)}")
    agent = by_kind["DaemonSet"]["spec"]["template"]["spec"]
    if agent["automountServiceAccountToken"] or not agent["hostNetwork"]:
        problems.append("the agent has a token or no host network")
    if has_replicas:
        problems += problems_of_replicas(by_kind, objects)
    for workload in ("Deployment", "DaemonSet"):
        problems += problems_of_workload(by_kind[workload], objects)
    return problems


def problems_of_replicas(by_kind, objects):
    """What keeps one of several gateways from being found by each agent, or lets all end at once."""
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    [headless] = [one["metadata"] for one in objects if one["kind"] == "Service" and one["spec"].get("clusterIP") == "None"]
    agent = by_kind["DaemonSet"]["spec"]["template"]["spec"]
    [container] = agent["containers"]
    problems = []
    dialled = [arg for arg in container["args"] if arg.startswith("--gateway=")]
    if any("$(" in arg for arg in dialled):
        name = f"--gateway={headless['name']}.{headless['namespace']}.svc:"
        if agent["dnsPolicy"] != "ClusterFirstWithHostNet" or not any(arg.startswith(name) for arg in dialled):
            problems.append("the agent does not find every gateway")
    if not by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items():
        problems.append("the budget does not select the gateways")
    return problems


def rights_of(rule):
    """A rule's rights, each as verb and resource with its group; a wildcard stays one, and so is in no list."""
    return {
        (verb, f"{resource}.{group}" if group else resource)
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def problems_of_workload(workload, objects):
    spec = workload["spec"]["template"]["spec"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    [container] = spec["containers"]
    problems = []
    if not workload["spec"]["selector"]["matchLabels"].items() <= labels.items():
        problems.append(f"{workload['kind']} does not select its own pods")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    if mounted != {volume["name"] for volume in spec["volumes"]}:
        problems.append(f"{workload['kind']} does not mount its volumes")
    names = [port["name"] for port in container["ports"]]
    probes = [container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")]
    targets = [
        port["targetPort"]
        for one in objects
        if one["kind"] == "Service" and one["spec"]["selector"].items() <= labels.items()
        for port in one["spec"]["ports"]
    ]
    problems += [f"{workload['kind']} has no port {name}" for name in probes + targets if name not in names]
    problems += problems_of_flags(container)
    return problems


def problems_of_flags(container):
    """Which of a daemon's flags the chart leaves out, and which it invents."""
    source, others = DAEMONS[container["name"]]
    known = declared_flags((HELM.parent / source).read_text()) - others
    given = {arg.removeprefix("--").split("=")[0] for arg in container["args"]}
    problems = [f"{container['name']} has no flag --{flag}" for flag in sorted(given - known)]
    optional = {"clusterset-cidr", "device", "healthz-listen", "link", "map-sizes", "otlp-endpoint", "tunnel-address", "tunnel-only"}
    problems += [f"{container['name']} is not given --{flag}" for flag in sorted(known - given - optional)]
    return problems


def declared_flags(source):
    """The long flags of a clap struct: those of fields whose attribute has `long`."""
    flags = set()
    attributes = re.finditer(r"#\[arg\((.*?)\)\]\s*pub(?:\(crate\))? (\w+):", source, re.DOTALL)
    for attribute, field in (match.groups() for match in attributes):
        named = re.search(r'\blong = "([^"]+)"', attribute)
        if named:
            flags.add(named.group(1))
        elif re.search(r"\blong\b", attribute):
            flags.add(field.replace("_", "-"))
    return flags


def check_installed(helm, path):
    values = yaml.safe_load(path.read_text())
    return helm.lint(values) + problems_of(helm.install(values))


def check_refused(helm, case):
    try:
        helm.install(case["values"])
    except helm.engine.HelmError as refusal:
        if case["says"] in str(refusal):
            return []
        return [f"refused, yet without saying '{case['says']}': {refusal}"]
    return ["was not refused"]


def load_engine():
    """The Helm engine, installed beside this interpreter when it is not there."""
    try:
        import helm_sdkpy
    except ModuleNotFoundError:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--ignore-requires-python", ENGINE], check=True)
        import helm_sdkpy
    return helm_sdkpy


def main():
    helm = Helm(load_engine())
    checks = [(path.name, check_installed, path) for path in sorted((CHART / "ci").glob("*-values.yaml"))]
    refused = yaml.safe_load((CHART / "ci" / "refused.yaml").read_text())
    checks += [(f"refused: {json.dumps(case['values'])}", check_refused, case) for case in refused]
    failures = 0
    for name, check, subject in checks:
        try:
            problems = check(helm, subject)
        except helm.engine.HelmError as error:
            problems = [str(error)]
        failures += bool(problems)
        print(f"{'FAILED' if problems else 'ok':6} chart {name}")
        for problem in problems:
            print(f"       {problem}")
    print(f"chart: {len(checks) - failures} of {len(checks)} value sets are as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

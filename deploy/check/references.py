"""What refers to workloads and Services: that it means something that is there."""

from manifests import named_ports

GATEWAY_PORTS = {"rtmp": 1935, "rtmps": 1936, "rtsp": 8554, "rtsps": 8322}


# What every overlay has, and what one with etcd has besides.
ALWAYS = {("Service", name) for name in ("rtmp", "rtsp", "ingest", "publish", "registry")}
CLUSTER = {("PodDisruptionBudget", name) for name in ("ingest", "publish", "etcd")} | {
    ("HorizontalPodAutoscaler", name) for name in ("ingest", "publish")
}


def check(manifests, metrics):
    """What is wrong; sentences."""
    wanted = ALWAYS | (CLUSTER if manifests.get("StatefulSet", "etcd") else set())
    problems = [
        f"there is no {kind} {name}"
        for kind, name in sorted(wanted)
        if manifests.get(kind, name) is None
    ]
    looks = {
        "Service": service,
        "PodDisruptionBudget": budget,
        "HorizontalPodAutoscaler": autoscaler,
        "PodMonitor": monitor,
        "Gateway": gateway,
        "TCPRoute": route,
        "Certificate": certificate,
        "Namespace": namespace,
        "StatefulSet": etcd,
    }
    for kind, look in looks.items():
        for doc in manifests.of(kind):
            name = doc["metadata"]["name"]
            problems += [f"{kind} {name}: {text}" for text in look(manifests, doc, metrics)]
    spaces = {d["metadata"].get("namespace") for d in manifests.docs if d["kind"] != "Namespace"}
    if spaces != {"rtmp2rtsp"}:
        problems.append(f"the namespaces are {spaces}")
    return problems


def service(manifests, doc, _):
    """It selects pods, and its named ports are theirs."""
    spec = doc["spec"]
    chosen = manifests.selected({"matchLabels": spec["selector"]})
    if len(chosen) != 1:
        yield f"it selects pods of {len(chosen)} workloads"
    for port in spec["ports"]:
        for workload in chosen:
            found = named_ports(workload).get(port["targetPort"])
            if found is None:
                yield f"{workload.name} has no port named {port['targetPort']}"
            elif found != (port["port"], port.get("protocol", "TCP")):
                yield f"its port {port['port']} is {found} of {workload.name}"


def budget(manifests, doc, _):
    """It selects the pods of one workload, one of which may go."""
    if len(manifests.selected(doc["spec"]["selector"])) != 1:
        yield "it does not select the pods of one workload"
    if doc["spec"].get("maxUnavailable") != 1:
        yield "maxUnavailable is not 1"


def autoscaler(manifests, doc, metrics):
    """By streams first and CPU second, of a workload that is there."""
    spec = doc["spec"]
    target = manifests.get(spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
    if target is None:
        yield f"there is no {spec['scaleTargetRef']['name']}"
        return
    kinds = [m["type"] for m in spec["metrics"]]
    if kinds != ["Pods", "Resource"] or spec["metrics"][1]["resource"]["name"] != "cpu":
        yield f"its metrics are {kinds}"
        return
    name = spec["metrics"][0]["pods"]["metric"]["name"]
    part = target["metadata"]["labels"]["app.kubernetes.io/component"]
    if metrics.get(name) != "gauge" or f"_{part}_" not in name:
        yield f"{name} is no gauge of {part}"
    if spec["minReplicas"] < 2 or spec["maxReplicas"] < spec["minReplicas"]:
        yield "it may leave one pod alone"


def monitor(manifests, doc, _):
    """Its ports are names of all pods that it selects."""
    for workload in manifests.selected(doc["spec"]["selector"]):
        for end in doc["spec"]["podMetricsEndpoints"]:
            if end["port"] not in named_ports(workload):
                yield f"{workload.name} has no port named {end['port']}"
    if not manifests.selected(doc["spec"]["selector"]):
        yield "it selects no pods"


def gateway(_, doc, __):
    """Its listeners have the ports of the protocols, and TLS a certificate."""
    listeners = doc["spec"]["listeners"]
    ports = {one["name"]: one["port"] for one in listeners}
    if ports != GATEWAY_PORTS:
        yield f"its ports are {ports}"
    for one in listeners:
        if (one["protocol"] == "TLS") != one["name"].endswith("s"):
            yield f"{one['name']} is {one['protocol']}"
        if one["protocol"] == "TLS" and not one.get("tls", {}).get("certificateRefs"):
            yield f"{one['name']} has no certificate"


def route(manifests, doc, _):
    """Its listeners and Services exist."""
    for parent in doc["spec"]["parentRefs"]:
        found = manifests.get("Gateway", parent["name"])
        names = [one["name"] for one in found["spec"]["listeners"]] if found else []
        if parent.get("sectionName") not in names:
            yield f"there is no listener {parent['name']}/{parent.get('sectionName')}"
    for backend in (b for rule in doc["spec"]["rules"] for b in rule["backendRefs"]):
        found = manifests.get("Service", backend["name"])
        if not found or backend["port"] not in [p["port"] for p in found["spec"]["ports"]]:
            yield f"there is no Service {backend['name']} with port {backend['port']}"


def certificate(manifests, doc, _):
    """Its issuer exists."""
    name = doc["spec"]["issuerRef"]["name"]
    if manifests.get("Issuer", name) is None:
        yield f"there is no Issuer {name}"


def namespace(manifests, doc, _):
    """Restricted Pod Security is enforced, but where a pod is in the network of its machine."""
    labels = doc["metadata"].get("labels", {})
    host = any(w.spec.get("hostNetwork") for w in manifests.workloads())
    for mode in ("enforce", "audit", "warn"):
        wanted = "privileged" if host and mode == "enforce" else "restricted"
        if labels.get(f"pod-security.kubernetes.io/{mode}") != wanted:
            yield f"Pod Security does not {mode} {wanted}"


def etcd(manifests, doc, _):
    """Its members are those that each of them is told, by the scheme that clients use."""
    spec, name = doc["spec"], doc["metadata"]["name"]
    args = dict(
        a.removeprefix("--").split("=", 1)
        for a in spec["template"]["spec"]["containers"][0]["args"]
        if "=" in a
    )
    found = manifests.get("Service", spec["serviceName"])
    if (
        not found
        or found["spec"].get("clusterIP") != "None"
        or not found["spec"].get("publishNotReadyAddresses")
    ):
        yield "its Service does not name members before they are ready"
    scheme = args["listen-peer-urls"].split(":")[0]
    members = [
        f"{name}-{n}={scheme}://{name}-{n}.{spec['serviceName']}:2380"
        for n in range(spec["replicas"])
    ]
    if args["initial-cluster"].split(",") != members:
        yield f"initial-cluster is {args['initial-cluster']}"
    if spec["replicas"] % 2 == 0:
        yield f"{spec['replicas']} members have no better majority than one less"
    clients = {
        u.split(":")[0]
        for w in manifests.ours()
        for u in manifests.settings(w).get("RTMP2RTSP_ETCD_ENDPOINTS", "").split(",")
        if u
    }
    if clients != {args["listen-client-urls"].split(":")[0]}:
        yield f"clients use {clients}, it listens on {args['listen-client-urls']}"

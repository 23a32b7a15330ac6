"""Workloads: how their processes are configured, found, watched, held and ended."""

import re

from binary import Refused, part_of
from manifests import matches, named_ports


def check(manifests, binary, version):
    """What is wrong with the workloads and what refers to them; sentences."""
    problems = []
    for workload in manifests.workloads():
        for look in (
            hardening,
            resources,
            probes,
            spread,
            mounts,
            account,
            env_references,
            reasons,
        ):
            problems += [
                f"{workload.kind} {workload.name}: {text}" for text in look(manifests, workload)
            ]
    for workload in manifests.ours():
        for look in (settings, update, image):
            problems += [
                f"{workload.kind} {workload.name}: {text}"
                for text in look(manifests, workload, binary, version)
            ]
    return problems


def hardening(_, workload):
    """Restricted Pod Security, and no token."""
    pod, own = (
        workload.spec.get("securityContext", {}),
        workload.container.get("securityContext", {}),
    )
    wanted = {
        "runAsNonRoot": (pod.get("runAsNonRoot"), True),
        "seccompProfile": (pod.get("seccompProfile", {}).get("type"), "RuntimeDefault"),
        "allowPrivilegeEscalation": (own.get("allowPrivilegeEscalation"), False),
        "readOnlyRootFilesystem": (own.get("readOnlyRootFilesystem"), True),
        "capabilities.drop": (own.get("capabilities", {}).get("drop"), ["ALL"]),
        "automountServiceAccountToken": (workload.spec.get("automountServiceAccountToken"), False),
        "enableServiceLinks": (workload.spec.get("enableServiceLinks"), False),
    }
    yield from (
        f"{name} is {got!r}, not {want!r}" for name, (got, want) in wanted.items() if got != want
    )
    if not pod.get("runAsUser"):
        yield "runAsUser is 0 or not said"
    if len(workload.spec["containers"]) != 1:
        yield "more than one container"


def resources(_, workload):
    """Memory that is promised is there, and CPU is not limited."""
    given = workload.container.get("resources", {})
    requests, limits = given.get("requests", {}), given.get("limits", {})
    if not limits.get("memory") or requests.get("memory") != limits["memory"]:
        yield f"memory request {requests.get('memory')} is not its limit {limits.get('memory')}"
    if "cpu" in limits:
        yield "it has a CPU limit"
    if "cpu" not in requests:
        yield "it requests no CPU"


def probes(_, workload):
    """Liveness and readiness, by HTTP, on ports with names that exist."""
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        get = workload.container.get(probe, {}).get("httpGet")
        if get is None:
            yield f"no {probe} by HTTP"
        elif get.get("path") != path:
            yield f"{probe} asks {get.get('path')}, not {path}"
        elif get.get("port") not in named_ports(workload):
            yield f"{probe}: there is no port named {get.get('port')}"


def spread(manifests, workload):
    """Selectors that mean the workload's own pods mean them."""
    if not matches(workload.doc["spec"]["selector"], workload.labels):
        yield "its selector does not select its pods"
    others = manifests.selected(workload.doc["spec"]["selector"])
    if len(others) > 1:
        yield f"its selector selects pods of {len(others)} workloads"
    constraints = workload.spec.get("topologySpreadConstraints", [])
    if {c["topologyKey"] for c in constraints} != {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }:
        yield "it is not spread over hosts and zones"
    affinity = workload.spec.get("affinity", {}).get("podAntiAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
    for term in [*constraints, *terms]:
        if manifests.selected(term["labelSelector"]) != [workload]:
            yield f"the {term['topologyKey']} selector does not select its own pods"
    if workload.spec.get("hostNetwork") and not any(
        t["topologyKey"] == "kubernetes.io/hostname" for t in terms
    ):
        yield "two of its pods may want the ports of one machine"


def mounts(manifests, workload):
    """Volumes exist, and so do the Secrets that certificates are written to."""
    volumes = {v["name"]: v for v in workload.spec.get("volumes", [])}
    claims = {c["metadata"]["name"] for c in workload.doc["spec"].get("volumeClaimTemplates", [])}
    for mount in workload.container.get("volumeMounts", []):
        if mount["name"] not in volumes.keys() | claims:
            yield f"there is no volume {mount['name']}"
    secrets = {c["spec"]["secretName"] for c in manifests.of("Certificate")}
    secrets |= {s["metadata"]["name"] for s in manifests.of("Secret")}
    for volume in volumes.values():
        name = volume.get("secret", {}).get("secretName")
        if name is not None and name not in secrets:
            yield f"nothing makes the Secret {name}"


def account(manifests, workload):
    """A service account of its own, without a token."""
    name = workload.spec.get("serviceAccountName")
    found = manifests.get("ServiceAccount", name)
    if found is None:
        yield f"there is no ServiceAccount {name}"
    elif found.get("automountServiceAccountToken") is not False:
        yield f"ServiceAccount {name} has a token mounted"


def env_references(manifests, workload):
    """ConfigMaps exist, and every $(NAME) is a variable of before."""
    for source in workload.container.get("envFrom", []):
        name = source.get("configMapRef", {}).get("name")
        if manifests.get("ConfigMap", name) is None:
            yield f"there is no ConfigMap {name}"
    for name, value in manifests.env(workload.container).items():
        if "$(" in value:
            yield f"{name} refers to a variable that is not set before it: {value}"
    args = " ".join(workload.container.get("args", []))
    for name in set(re.findall(r"\$\((\w+)\)", args)) - manifests.env(workload.container).keys():
        yield f"an argument refers to ${name}, which is not set"


def reasons(_, workload):
    """Whatever a check of policies lets it off has a reason."""
    for name, text in workload.doc["metadata"].get("annotations", {}).items():
        if name.startswith("checkov.io/skip") and not re.fullmatch(r"CKV\w+=.*\w+ \w+.*", text):
            yield f"{name} gives no reason: {text}"


def settings(manifests, workload, binary, _):
    """The binary starts with them, on the ports that the manifest says, which are its defaults."""
    args, env = workload.container.get("args", []), manifests.settings(workload)
    try:
        config = binary.config(args, env)
    except Refused as refused:
        yield f"the binary refuses its configuration: {refused}"
        return
    tcp = {n: p for n, (p, protocol) in named_ports(workload).items() if protocol == "TCP"}
    wanted = binary.tcp_ports(args, config)
    if tcp != wanted:
        yield f"its TCP ports are {tcp}, the process listens on {wanted}"
    if wanted != binary.tcp_ports(args, binary.defaults):
        yield f"its ports are not the defaults: {wanted}"
    udp = [p for p, protocol in named_ports(workload).values() if protocol == "UDP"]
    if sorted(udp) != binary.reader_ports(args, config):
        yield f"its UDP ports are {udp}, readers are served from {binary.reader_ports(args, config)}"
    if binary.reader_ports(args, config) and not workload.spec.get("hostNetwork"):
        yield "readers may play over UDP, which no Service carries"
    yield from addresses(manifests, workload, config)
    yield from files(workload, env)


def addresses(manifests, workload, config):
    """What a process tells others of itself is its pod's; what it is told of others is there."""
    own = manifests.env(workload.container)
    if part_of(workload.container["args"]) == "ingest":
        wanted = f"http://{own.get('POD_IP')}:{config['ingest']['grpc_listen'].rsplit(':', 1)[1]}"
        if config["ingest"]["advertise_grpc_url"] != wanted:
            yield "ingest.advertise_grpc_url is not the pod's gRPC port"
        if config["ingest"]["id"] != own.get("POD_NAME"):
            yield "ingest.id is not the pod's name"
    else:
        if config["publish"]["rtp_address"] != own.get("POD_IP"):
            yield "publish.rtp_address is not the pod's address"
        if config["publish"]["node_id"] != own.get("POD_NAME"):
            yield "publish.node_id is not the pod's name"
    for name in ("RTMP2RTSP_REGISTRY_URL", "RTMP2RTSP_ETCD_ENDPOINTS"):
        for url in filter(None, own.get(name, "").split(",")):
            if not reachable(manifests, url):
                yield f"{name}: no Service of the manifests is at {url}"


def reachable(manifests, url):
    """Whether `http://service:port`, or `http://pod.service:port` of a StatefulSet, is a port of a Service here."""
    found = re.fullmatch(r"https?://(?:([a-z0-9-]+)\.)?([a-z0-9-]+):(\d+)", url)
    service = found and manifests.get("Service", found[2])
    if not service or int(found[3]) not in [p["port"] for p in service["spec"]["ports"]]:
        return False
    if found[1] is None:
        return True
    owner, number = found[1].rsplit("-", 1)
    owner = manifests.get("StatefulSet", owner)
    return (
        bool(owner)
        and owner["spec"]["serviceName"] == found[2]
        and int(number) < owner["spec"]["replicas"]
    )


def files(workload, env):
    """Files that keys name lie in volumes."""
    mounted = [m["mountPath"].rstrip("/") + "/" for m in workload.container.get("volumeMounts", [])]
    for name, value in env.items():
        if name.endswith("_FILE") and not any(value.startswith(path) for path in mounted):
            yield f"{name}: {value} is in no volume"


def update(manifests, workload, binary, _):
    """Nothing is ended before what takes its place is ready, and nothing is killed while it drains."""
    spec, args = workload.doc["spec"], workload.container.get("args", [])
    env = manifests.settings(workload)
    strategy, replicas = spec.get("strategy", {}), spec.get("replicas")
    scaled = [
        h
        for h in manifests.of("HorizontalPodAutoscaler")
        if h["spec"]["scaleTargetRef"]["name"] == workload.name
    ]
    if strategy.get("type") == "Recreate":
        if replicas != 1 or scaled or env.get("RTMP2RTSP_ETCD_ENDPOINTS"):
            yield "Recreate is for the one pod with the registry in its memory"
    elif strategy.get("rollingUpdate", {}).get("maxUnavailable") != 0:
        yield "an update may end a pod before the next one is ready"
    if scaled and replicas is not None:
        yield "it says replicas, which undoes what the autoscaler did at each apply"
    alone = part_of(args) == "publish" and not env.get("RTMP2RTSP_ETCD_ENDPOINTS")
    if alone and (scaled or replicas != 1):
        yield "more than one pod has a registry in its memory"
    try:
        drain = binary.drain(args, binary.config(args, env))
    except Refused:
        return
    stop = workload.container.get("lifecycle", {}).get("preStop", {})
    pause = stop.get("sleep", {}).get("seconds", 0)
    grace = workload.spec.get("terminationGracePeriodSeconds", 30)
    if set(stop) - {"sleep"}:
        yield "preStop runs a program, and the image has none"
    if pause >= grace:
        yield f"preStop takes {pause} s of {grace} s"
    elif pause + drain >= grace:
        yield f"it is killed after {grace} s and takes up to {pause + drain:g} s to end"


def image(_, workload, __, version):
    """The tag is this version."""
    if workload.container["image"] != f"rtmp2rtsp:{version}":
        yield f"its image is {workload.container['image']}, not rtmp2rtsp:{version}"

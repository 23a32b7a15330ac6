"""Kubernetes manifests, and how they refer to each other."""

import collections
import re

import yaml

OURS = {"app.kubernetes.io/name": "rtmp2rtsp"}
# What `$(NAME)` of a field reference becomes when a configuration is tried.
FIELDS = {
    "metadata.name": "pod-7d9f",
    "status.podIP": "10.1.2.3",
    "metadata.namespace": "rtmp2rtsp",
}

Workload = collections.namedtuple("Workload", "name kind doc labels spec container")


class Manifests:
    """All manifests of one overlay."""

    def __init__(self, docs):
        self.docs = docs
        self.by_name = {(d["kind"], d["metadata"]["name"]): d for d in docs}

    @classmethod
    def load(cls, text):
        """From YAML."""
        return cls([doc for doc in yaml.safe_load_all(text) if doc])

    def of(self, kind):
        """All of a kind."""
        return [doc for doc in self.docs if doc["kind"] == kind]

    def get(self, kind, name):
        """One, or None."""
        return self.by_name.get((kind, name))

    def workloads(self):
        """What has pods; each of one container."""
        found = []
        for kind in ("Deployment", "StatefulSet", "DaemonSet"):
            for doc in self.of(kind):
                template = doc["spec"]["template"]
                labels, spec = template["metadata"]["labels"], template["spec"]
                name = doc["metadata"]["name"]
                found.append(Workload(name, kind, doc, labels, spec, spec["containers"][0]))
        return found

    def ours(self):
        """The workloads that run the binary."""
        return [w for w in self.workloads() if OURS.items() <= w.labels.items()]

    def selected(self, selector):
        """The workloads whose pods a label selector selects."""
        return [w for w in self.workloads() if matches(selector, w.labels)]

    def env(self, container):
        """A container's environment with references followed. A ConfigMap that is not there gives nothing."""
        env = {}
        for source in container.get("envFrom", []):
            config_map = self.get("ConfigMap", source.get("configMapRef", {}).get("name")) or {}
            env |= config_map.get("data", {})
        for entry in container.get("env", []):
            field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            value = FIELDS.get(field, "") if field else entry.get("value", "")
            env[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda m: env.get(m[1], m[0]), value)
        return env

    def settings(self, workload):
        """The part of its environment that the binary reads."""
        env = self.env(workload.container)
        return {name: value for name, value in env.items() if name.startswith("RTMP2RTSP_")}


def matches(selector, labels):
    """Whether a label selector (matchLabels, matchExpressions In and Exists) selects; an empty one selects all."""
    for expression in selector.get("matchExpressions", []):
        value = labels.get(expression["key"])
        if expression["operator"] == "In" and value not in expression["values"]:
            return False
        if expression["operator"] == "Exists" and value is None:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def named_ports(workload):
    """Name → (number, protocol) of a workload's ports."""
    ports = workload.container.get("ports", [])
    return {p["name"]: (p["containerPort"], p.get("protocol", "TCP")) for p in ports}

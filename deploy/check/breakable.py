"""An overlay that can be broken, and what the checks say of it then."""

import os
import pathlib

import yaml

import main
import metrics
from binary import Binary
from manifests import Manifests

BINARY = Binary(pathlib.Path(os.environ["BINARY"]).resolve())
EXPORTED = metrics.exported(BINARY, main.TOP)
TEXTS = {o: (main.TREE / f"rendered/{o}.yaml").read_text() for o in main.OVERLAYS}


class Broken:
    """An overlay to break; `told` is what is said of it then."""

    def __init__(self, overlay):
        self.docs = [doc for doc in yaml.safe_load_all(TEXTS[overlay]) if doc]

    def __getitem__(self, kind_name):
        kind, name = kind_name.split("/")
        for doc in self.docs:
            # Names of ConfigMaps end in a hash.
            if doc["kind"] == kind and (
                doc["metadata"]["name"] == name
                or doc["metadata"]["name"].startswith(name + "-")
                and kind == "ConfigMap"
            ):
                return doc
        raise KeyError(kind_name)

    def pod(self, kind_name):
        """The pod spec of a workload."""
        return self[kind_name]["spec"]["template"]["spec"]

    def container(self, kind_name):
        """The container of a workload."""
        return self.pod(kind_name)["containers"][0]

    def port(self, kind_name, port_name):
        """A port of a workload."""
        return next(p for p in self.container(kind_name)["ports"] if p["name"] == port_name)

    def policy(self, name, direction, port):
        """The entry of a policy's port."""
        rules = self[f"NetworkPolicy/{name}"]["spec"][direction]
        return next(p for rule in rules for p in rule["ports"] if p["port"] == port)

    def told(self):
        """All problems, as one text."""
        return "\n".join(main.check_overlay(Manifests(self.docs), BINARY, EXPORTED))


def put(container, **values):
    """Sets values; None takes them out."""
    for name, value in values.items():
        if value is None:
            del container[name]
        else:
            container[name] = value

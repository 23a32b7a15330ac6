"""Checks deploy/ against the binary: `main.py BINARY`. Prints what is wrong, and exits with 1 if anything is."""

import json
import pathlib
import shutil
import subprocess
import sys
import tomllib

import yaml

import image
import metrics
import network
import references
import workloads
from binary import Binary
from manifests import Manifests

TOP = pathlib.Path(__file__).resolve().parents[2]
TREE = TOP / "deploy/kubernetes"
OVERLAYS = sorted(path.name for path in (TREE / "overlays").iterdir())
# The first kustomize of kubectl whose output has all that the overlays use.
KUSTOMIZE = 5


def kustomizes():
    """Whether there is a kubectl with a kustomize that is new enough."""
    if shutil.which("kubectl") is None:
        return False
    done = subprocess.run(
        ["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True
    )
    version = json.loads(done.stdout or "{}").get("kustomizeVersion", "v0")
    return int(version.lstrip("v").split(".")[0]) >= KUSTOMIZE


def rendered(overlay):
    """The committed rendering of an overlay, and whether kustomize gives the same (None: nobody can tell)."""
    path = TREE / f"rendered/{overlay}.yaml"
    text = path.read_text() if path.exists() else ""
    if not kustomizes():
        return text, None
    done = subprocess.run(
        ["kubectl", "kustomize", TREE / "overlays" / overlay], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{overlay}: {done.stderr}")
    # Documents are compared, not text: another kustomize may order or wrap it otherwise.
    return text, sorted_docs(text) == sorted_docs(done.stdout)


def sorted_docs(text):
    """The documents in an order of their own."""
    return sorted(json.dumps(doc, sort_keys=True) for doc in yaml.safe_load_all(text) if doc)


def cargo():
    """Cargo.toml of the workspace."""
    return tomllib.loads((TOP / "Cargo.toml").read_text())


def check_overlay(manifests, binary, exported):
    """What is wrong with one overlay; sentences."""
    version = cargo()["workspace"]["package"]["version"]
    return (
        workloads.check(manifests, binary, version)
        + references.check(manifests, exported)
        + network.check(manifests, binary)
    )


def check_all(binary, exported):
    """What is wrong with deploy/; sentences."""
    problems = []
    for overlay in OVERLAYS:
        text, same = rendered(overlay)
        if same is False:
            problems.append(
                f"rendered/{overlay}.yaml is not what kustomize gives: scripts/check-deploy --render"
            )
        found = check_overlay(Manifests.load(text), binary, exported)
        problems += [f"{overlay}: {problem}" for problem in found]
        print(
            f"{overlay}: {len(Manifests.load(text).docs)} manifests",
            "" if same is not None else "(not rendered: no kubectl)",
        )
    version = cargo()["workspace"]["package"]["version"]
    cluster = Manifests.load((TREE / "rendered/cluster.yaml").read_text())
    problems += metrics.check(TOP, cluster, exported)
    dockerfile, ignore = (
        (TOP / "deploy/Dockerfile").read_text(),
        (TOP / ".dockerignore").read_text(),
    )
    problems += image.check_dockerfile(dockerfile, ignore, cargo(), binary)
    compose = yaml.safe_load((TOP / "deploy/compose.yaml").read_text())
    problems += image.check_compose(compose, version, binary)
    return problems


def main():
    """The whole."""
    binary = Binary(pathlib.Path(sys.argv[1]).resolve())
    problems = check_all(binary, metrics.exported(binary, TOP))
    for problem in problems:
        print(f"check-deploy: {problem}", file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

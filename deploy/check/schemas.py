"""Checks rendered manifests against the schemas of Kubernetes, strictly; a warning counts as a failure."""

import sys
import warnings

import kubernetes_validate
import yaml

# The oldest version with all that is used (docs/kubernetes.md), and the newest that the package knows.
VERSIONS = ("1.30", ".".join(kubernetes_validate.latest_version().split(".")[:2]))
# What comes from operators and has no schema in Kubernetes; deploy/check/references.py looks at it.
OPERATORS = {
    "cert-manager.io": {"Certificate", "Issuer"},
    "gateway.networking.k8s.io": {"Gateway", "TCPRoute"},
    "monitoring.coreos.com": {"PodMonitor", "PrometheusRule"},
}


def problems_of(doc, version):
    """What is wrong with one manifest; sentences."""
    name = f"{doc.get('kind')} {doc.get('metadata', {}).get('name')}"
    if doc.get("kind") in OPERATORS.get(doc.get("apiVersion", "").split("/")[0], ()):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            used = kubernetes_validate.validate(doc, version, strict=True)
        except (
            kubernetes_validate.ValidationError,
            kubernetes_validate.SchemaNotFoundError,
            Warning,
        ) as error:
            yield f"{name}: {error}"
        else:
            if used not in (None, version):
                yield f"{name}: there is no schema of {version}"


def main():
    """The whole."""
    failed = count = 0
    for path in sys.argv[1:]:
        with open(path) as file:
            docs = [doc for doc in yaml.safe_load_all(file) if doc]
        count += len(docs)
        for version in VERSIONS:
            for problem in (p for doc in docs for p in problems_of(doc, version)):
                print(f"{path}, Kubernetes {version}: {problem}", file=sys.stderr)
                failed += 1
    print(f"{count} manifests against {' and '.join(VERSIONS)}")
    # What cannot be has to be refused, else nothing was checked.
    broken = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {"replica": 1},
    }
    if not all(list(problems_of(broken, version)) for version in VERSIONS):
        raise SystemExit("a broken Deployment passes")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

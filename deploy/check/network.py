"""Network policies: that they can be read, and that what has to pass passes and nothing else does."""

import ipaddress

from binary import Refused
from manifests import matches, named_ports

EVERYWHERE = {"namespace": "elsewhere", "labels": {}, "ip": "203.0.113.9"}
DNS = {
    "namespace": "kube-system",
    "labels": {"k8s-app": "kube-dns"},
    "ip": None,
}


def check(manifests, binary):
    """What is wrong with the policies; sentences."""
    problems = []
    for policy in manifests.of("NetworkPolicy"):
        problems += forms(manifests, policy)
    if not any(denies_all(policy) for policy in manifests.of("NetworkPolicy")):
        problems.append("no NetworkPolicy denies what is not named")
    return problems or flows(manifests, binary)


def denies_all(policy):
    """Whether it selects all pods, for both directions, and lets nothing through."""
    spec = policy["spec"]
    both = set(spec.get("policyTypes", [])) == {"Ingress", "Egress"}
    return spec["podSelector"] == {} and both and "ingress" not in spec and "egress" not in spec


def forms(manifests, policy):
    """Selectors select, named ports resolve, ranges are ranges."""
    name, spec = policy["metadata"]["name"], policy["spec"]
    problems = []
    chosen = manifests.selected(spec["podSelector"])
    if not chosen:
        problems.append(f"NetworkPolicy {name}: its podSelector selects no pods")
    for direction in ("ingress", "egress"):
        if spec.get(direction) and direction.capitalize() not in spec.get("policyTypes", []):
            problems.append(f"NetworkPolicy {name}: {direction} without its policyType")
        for rule in spec.get(direction, []):
            peers = rule.get("from" if direction == "ingress" else "to", [])
            for peer in peers:
                own = "podSelector" in peer and "namespaceSelector" not in peer
                if own and not manifests.selected(peer["podSelector"]):
                    problems.append(f"NetworkPolicy {name}: a peer's podSelector selects no pods")
            targets = chosen if direction == "ingress" else manifests.workloads()
            for port in rule.get("ports", []):
                problems += port_forms(name, port, targets)
    return problems


def port_forms(name, port, targets):
    """One port of a rule."""
    number, end = port.get("port"), port.get("endPort")
    if end is not None and not isinstance(number, int):
        return [f"NetworkPolicy {name}: endPort {end} without a numeric port"]
    if end is not None and end < number:
        return [f"NetworkPolicy {name}: endPort {end} is below port {number}"]
    if isinstance(number, str):
        return [
            f"NetworkPolicy {name}: {target.name} has no port named {number}"
            for target in targets
            if number not in named_ports(target)
        ]
    return []


def flows(manifests, binary):
    """Every connection that the design needs, and some that must not be."""
    by = {w.labels.get("app.kubernetes.io/component", w.name): w for w in manifests.workloads()}
    ingest, publish, etcd = by.get("ingest"), by.get("publish"), by.get("etcd")
    if not ingest or not publish:
        return ["there is no ingest or no publish"]
    try:
        config = binary.config(publish.container["args"], manifests.settings(publish))
    except Refused:
        return []  # `workloads` tells of it.
    low, high = config["publish"]["rtp_port_min"], config["publish"]["rtp_port_max"]
    allowed = [(ingest, publish, "UDP", p) for p in (low, high)]
    allowed += [(publish, publish, "UDP", p) for p in (low, high)]
    allowed += [(ingest, publish, "TCP", 50052), (publish, publish, "TCP", 50052)]
    allowed += [(publish, ingest, "TCP", 50051), (ingest, ingest, "TCP", 50051)]
    allowed += [(EVERYWHERE, ingest, "TCP", 1935), (EVERYWHERE, publish, "TCP", 8554)]
    allowed += [(w, DNS, protocol, 53) for w in (ingest, publish) for protocol in ("TCP", "UDP")]
    refused = [(ingest, publish, "UDP", p) for p in (low - 1, high + 1)]
    refused += [(EVERYWHERE, publish, "UDP", low), (EVERYWHERE, publish, "TCP", 50052)]
    refused += [(EVERYWHERE, ingest, "TCP", p) for p in (50051, 8080)]
    refused += [
        (publish, EVERYWHERE, "TCP", 443),
        (ingest, {**EVERYWHERE, "ip": "169.254.169.254"}, "TCP", 80),
    ]
    if etcd:
        allowed += [
            (publish, etcd, "TCP", 2379),
            (etcd, etcd, "TCP", 2380),
            (etcd, etcd, "TCP", 2379),
        ]
        allowed += [(etcd, DNS, "UDP", 53)]
        refused += [
            (ingest, etcd, "TCP", 2379),
            (EVERYWHERE, etcd, "TCP", 2379),
            (publish, etcd, "TCP", 2380),
        ]
    problems = []
    for expected, cases in ((True, allowed), (False, refused)):
        for source, target, protocol, port in cases:
            # Policies do not hold for pods in the network of their machine.
            if not expected and any(
                not isinstance(w, dict) and w.spec.get("hostNetwork") for w in (source, target)
            ):
                continue
            if passes(manifests, source, target, protocol, port) != expected:
                word = "does not pass" if expected else "passes"
                problems.append(
                    f"network: {protocol} {port} from {title(source)} to {title(target)} {word}"
                )
    return problems


def title(end):
    """A name for people."""
    return end["namespace"] if isinstance(end, dict) else end.name


def passes(manifests, source, target, protocol, port):
    """Whether the policies let a connection through, at both of its ends."""
    return one_way(manifests, "egress", source, target, protocol, port, target) and one_way(
        manifests, "ingress", target, source, protocol, port, target
    )


def one_way(manifests, direction, own, peer, protocol, port, target):
    """Whether the policies of `own`, if they are ours, let `direction` pass to or from `peer`."""
    if isinstance(own, dict) or own.spec.get("hostNetwork"):
        return True
    policies = [
        p["spec"]
        for p in manifests.of("NetworkPolicy")
        if matches(p["spec"]["podSelector"], own.labels)
    ]
    policies = [spec for spec in policies if direction.capitalize() in spec.get("policyTypes", [])]
    if not policies:
        return True
    rules = [rule for spec in policies for rule in spec.get(direction, [])]
    return any(
        is_peer(rule.get("from" if direction == "ingress" else "to"), peer)
        and is_port(rule.get("ports"), protocol, port, target)
        for rule in rules
    )


def is_peer(peers, end):
    """Whether a rule's peers, none of which means all, hold an end."""
    return peers is None or any(holds(peer, end) for peer in peers)


def holds(peer, end):
    """Whether one peer of a rule holds an end."""
    if "ipBlock" in peer:
        # Pods in the network of their machine have a private address; others are not to be named by addresses.
        if not isinstance(end, dict):
            return bool(end.spec.get("hostNetwork")) and peer["ipBlock"]["cidr"].startswith("10.")
        return end["ip"] is not None and within(peer["ipBlock"], end["ip"])
    if isinstance(end, dict):
        space = {"kubernetes.io/metadata.name": end["namespace"]}
        return (
            "namespaceSelector" in peer
            and matches(peer["namespaceSelector"], space)
            and matches(peer.get("podSelector", {}), end["labels"])
        )
    if end.spec.get("hostNetwork") or "namespaceSelector" in peer:
        return False
    return matches(peer["podSelector"], end.labels)


def within(block, address):
    """Whether an ipBlock has an address."""
    address = ipaddress.ip_address(address)
    if address not in ipaddress.ip_network(block["cidr"]):
        return False
    return not any(address in ipaddress.ip_network(out) for out in block.get("except", []))


def is_port(ports, protocol, port, target):
    """Whether a rule's ports, none of which means all, hold one."""
    if ports is None:
        return True
    for entry in ports:
        first = entry.get("port")
        if isinstance(first, str):
            names = {} if isinstance(target, dict) else named_ports(target)
            first = names.get(first, (None, None))[0]
        if entry.get("protocol", "TCP") != protocol or first is None:
            continue
        if first <= port <= entry.get("endPort", first):
            return True
    return False

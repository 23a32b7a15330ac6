"""The image and compose.yaml."""

import json
import re

from binary import Refused, seconds


def instructions(text):
    """A Dockerfile as (instruction, rest) with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
    text = re.sub(r"\\\n\s*", " ", text)
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def check_dockerfile(text, ignore, cargo, binary):
    """What is wrong with the Dockerfile; sentences."""
    problems, lines = [], instructions(text)
    last = max(n for n, (word, _) in enumerate(lines) if word == "FROM")
    final = dict(reversed(lines[last:]))
    if final["FROM"] != "scratch":
        problems.append(f"Dockerfile: the image stands on {final['FROM']}, which may have a shell")
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", final.get("USER", "")):
        problems.append("Dockerfile: the user is no number but root's")
    entry = json.loads(final.get("ENTRYPOINT", "[]"))
    health = json.loads(final.get("HEALTHCHECK", "CMD []").split("CMD", 1)[1])
    if len(entry) != 1 or health != [*entry, "healthcheck"]:
        problems.append("Dockerfile: HEALTHCHECK is not the binary's own")
    if binary.runs(["healthcheck", "--help"]) != 0:
        problems.append("Dockerfile: the binary has no healthcheck")
    config = binary.defaults
    wanted = {str(port) for port in binary.tcp_ports([], config).values()}
    wanted.add("{}-{}/udp".format(*binary.reader_ports([], config)))
    wanted.add(f"{config['publish']['rtp_port_min']}-{config['publish']['rtp_port_max']}/udp")
    if set(final["EXPOSE"].split()) != wanted:
        problems.append(
            f"Dockerfile: it exposes {final['EXPOSE']}, the defaults are {sorted(wanted)}"
        )
    toolchain = re.search(r"rust:(\d+)\.(\d+)", text)
    least = [int(n) for n in cargo["workspace"]["package"]["rust-version"].split(".")]
    if [int(n) for n in toolchain.groups()] < least:
        problems.append(f"Dockerfile: Rust is below {least}")
    if "ARG FEATURES=etcd" not in text:
        problems.append("Dockerfile: the image cannot use etcd")
    allowed = {line.removeprefix("!") for line in ignore.splitlines() if line.startswith("!")}
    needed = {member.split("/")[0] for member in cargo["workspace"]["members"]} | {
        "Cargo.toml",
        "Cargo.lock",
    }
    for name in sorted(needed - allowed):
        problems.append(f".dockerignore: {name} does not get into the build")
    return problems


def check_compose(compose, version, binary):
    """What is wrong with compose.yaml; sentences."""
    services = compose["services"]
    problems = []
    profiles = {profile for s in services.values() for profile in s.get("profiles", [])}
    if profiles != {"single", "cluster"}:
        problems.append(f"compose: the profiles are {sorted(profiles)}")
    for profile in sorted(profiles):
        members = {n: s for n, s in services.items() if profile in s["profiles"]}
        hosts = [
            p.rsplit(":", 1)[0] + p.partition("/")[2]
            for s in members.values()
            for p in s.get("ports", [])
        ]
        problems += [
            f"compose: {h} is taken twice" for h in sorted({h for h in hosts if hosts.count(h) > 1})
        ]
        for name, one in members.items():
            looks = [hardening(one), names(one, members, compose)]
            if one["image"].startswith("rtmp2rtsp:"):
                looks.append(ours(one, version, binary))
            problems += [f"compose, {name}: {text}" for look in looks for text in look]
    return problems


def hardening(service):
    """No more rights than it needs."""
    if service.get("cap_drop") != ["ALL"]:
        yield "it keeps capabilities"
    if service.get("security_opt") != ["no-new-privileges:true"]:
        yield "it may gain privileges"
    if service["image"].startswith("rtmp2rtsp:") and not service.get("read_only"):
        yield "its file system can be written to"


def names(service, members, compose):
    """Hosts of URLs, services that it waits for, networks and volumes are there."""
    for value in service.get("environment", {}).values():
        for host in re.findall(r"https?://([a-z0-9-]+):", str(value)):
            if host not in members:
                yield f"there is no {host}"
    for other, how in service.get("depends_on", {}).items():
        if other not in members:
            yield f"it waits for {other}, which is not there"
        elif how["condition"] == "service_healthy" and not checked(members[other]):
            yield f"it waits for the health of {other}, which nobody checks"
    for volume in service.get("volumes", []):
        if volume.split(":")[0] not in compose["volumes"]:
            yield f"there is no volume {volume}"
    for network in service.get("networks", []):
        if network not in compose["networks"]:
            yield f"there is no network {network}"


def checked(service):
    """Whether a service has a health check; ours is in its image."""
    return service["image"].startswith("rtmp2rtsp:") or "healthcheck" in service


def ours(service, version, binary):
    """A service that runs the binary."""
    args, env = service.get("command", []), service.get("environment", {})
    if service["image"] != f"rtmp2rtsp:{version}":
        yield f"its image is {service['image']}, not rtmp2rtsp:{version}"
    try:
        config = binary.config(args, {k: str(v) for k, v in env.items()})
    except Refused as refused:
        yield f"the binary refuses its configuration: {refused}"
        return
    tcp, udp = binary.tcp_ports(args, config), binary.reader_ports(args, config)
    published = {}
    for port in service.get("ports", []):
        host, _, inside = port.rpartition(":")
        published[inside] = host
    wanted = {str(p) for p in tcp.values()} | {f"{p}/udp" for p in udp}
    if set(published) != wanted:
        yield f"it publishes {sorted(published)}, the process listens on {sorted(wanted)}"
    for name, number in tcp.items():
        if name.rsplit("-")[-1] in ("grpc", "http") and not published.get(
            str(number), ""
        ).startswith("127.0.0.1:"):
            yield f"{name} is open to other machines"
    if udp and any(published.get(f"{p}/udp") != str(p) for p in udp):
        yield "readers are told of other UDP ports than are published"
    grace, drain = seconds(service["stop_grace_period"]), binary.drain(args, config)
    if drain >= grace:
        yield f"it is killed after {grace} s and takes up to {drain} s to end"
    address = (
        next(iter(n.get("ipv4_address") for n in service["networks"].values()), None)
        if isinstance(service.get("networks"), dict)
        else None
    )
    if "publish-svc" in args and config["publish"]["rtp_address"] != address:
        yield f"publish.rtp_address is not its address {address}"

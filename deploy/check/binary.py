"""What the program itself says of its configuration: `rtmp2rtsp --print-config`."""

import functools
import re
import subprocess
import tomllib

# How long a service may take to end after it was cut (CUT_GRACE in gateway/src/run.rs), in seconds.
CUT_GRACE = 3


class Refused(Exception):
    """The binary does not start with a configuration; its sentence."""


def env_name(key):
    """The environment variable of a key "section.name"."""
    return "RTMP2RTSP_" + key.replace(".", "_").upper()


def seconds(text):
    """A duration as the binary prints it ("1m 30s") in seconds."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    parts = re.findall(r"(\d+)(ms|s|m|h)", text)
    if not parts:
        raise ValueError(f"no duration: {text!r}")
    return sum(int(number) * units[unit] for number, unit in parts)


def port(listen):
    """The port of an address to listen on."""
    return int(listen.rsplit(":", 1)[1])


class Binary:
    """The program at `path`."""

    def __init__(self, path):
        self.path = str(path)
        self.defaults = self.config((), {})

    def config(self, args, env):
        """The configuration in effect with arguments and variables, as sections of keys. Raises Refused."""
        return self._config(tuple(args), tuple(sorted(env.items())))

    @functools.lru_cache(maxsize=None)
    def _config(self, args, env):
        done = subprocess.run(
            [self.path, *args, "--print-config"],
            env=dict(env),
            capture_output=True,
            text=True,
            timeout=30,
        )
        if done.returncode != 0:
            raise Refused(done.stderr.strip())
        return tomllib.loads(done.stdout)

    def runs(self, args):
        """The exit code of a call of the binary."""
        return subprocess.run(
            [self.path, *args], env={}, capture_output=True, timeout=30
        ).returncode

    def tcp_ports(self, args, config):
        """The TCP ports that a process with these arguments listens on, by the names that manifests give them."""
        ingest = {
            "rtmp": config["rtmp"]["listen"],
            "grpc": config["ingest"]["grpc_listen"],
            "http": config["ingest"]["http_listen"],
        }
        publish = {
            "rtsp": config["rtsp"]["listen"],
            "grpc": config["publish"]["grpc_listen"],
            "http": config["publish"]["http_listen"],
        }
        part = part_of(args)
        names = ingest if part == "ingest" else publish if part == "publish" else None
        if names is None:
            names = {f"ingest-{n}": v for n, v in ingest.items()}
            names |= {f"publish-{n}": v for n, v in publish.items()}
        return {name: port(listen) for name, listen in names.items()}

    def reader_ports(self, args, config):
        """The UDP ports of readers."""
        first = config["rtsp"]["rtp_port"]
        return [first, first + 1] if part_of(args) != "ingest" and config["rtsp"]["udp"] else []

    def drain(self, args, config):
        """How long a process with these arguments may take to end, in seconds: one service after the other."""
        parts = {"ingest": ["ingest"], "publish": ["publish"], "both": ["ingest", "publish"]}[
            part_of(args)
        ]
        return sum(seconds(config[part]["drain_grace"]) + CUT_GRACE for part in parts)


def part_of(args):
    """What runs in a process with these arguments: "ingest", "publish" or "both"."""
    names = {
        "ingest-svc": "ingest",
        "ingest": "ingest",
        "publish-svc": "publish",
        "publish": "publish",
    }
    return next((names[arg] for arg in args if arg in names), "both")

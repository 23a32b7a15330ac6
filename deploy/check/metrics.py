"""The metrics that the binary has, and that alerts, dashboards and autoscalers name no others."""

import json
import pathlib
import re
import subprocess
import urllib.request

import yaml

# Labels that scraping adds, whose values nobody knows here.
SCRAPED = {"namespace", "pod", "job"}
KINDS = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram", "Spread": "histogram"}


def exported(binary, top):
    """Name without suffix → type, from the sources, and from /metrics of the running binary: a family that has counted nothing yet
    is not shown there. What both tell of has to agree."""
    found = from_sources(top)
    for name, kind in from_binary(binary).items():
        if found.setdefault(name, kind) != kind:
            raise SystemExit(
                f"{name} is a {kind}; deploy/check/metrics.py reads {found[name]} in the sources"
            )
    return found


def from_sources(top):
    """From the fields of the instruments and from where they are registered."""
    found = {}
    for path in top.glob("*/src/**/*.rs"):
        text = path.read_text()
        if "register" not in text:
            continue
        fields = dict(re.findall(r"(\w+): [\w<>, ]*?\b(Counter|Gauge|Histogram|Spread)\b", text))
        # A tuple struct's only field.
        for kind in re.findall(r"struct \w+\([\w<>, ]*?\b(Counter|Gauge)\b", text):
            fields["0"] = kind
        call = r'register(?:_with_unit)?\(\s*"(\w+)",\s*(?:"[^"]*"|help),\s*(?:Unit::(\w+),\s*)?(?:\w+\.)*(\w+)(?:\.clone\(\))?[,)\s]'
        for name, unit, field in re.findall(call, text):
            if field in fields:
                suffix = f"_{unit.lower()}" if unit else ""
                found[f"rtmp2rtsp_{name}{suffix}"] = KINDS[fields[field]]
    return found


def from_binary(binary):
    """From both services of a process that is started for it."""
    listen = ["rtmp", "rtsp", "ingest-grpc", "ingest-http", "publish-grpc", "publish-http"]
    flags = [part for name in listen for part in (f"--{name}-listen", "127.0.0.1:0")]
    flags += ["--rtsp-rtp-port", "0", "--log-level", "error"]
    process = subprocess.Popen([binary.path, *flags], stdout=subprocess.PIPE, text=True, env={})
    try:
        found = {}
        for line in process.stdout:
            for address in re.findall(r"http://\S+", line):
                with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
                    found |= dict(re.findall(r"^# TYPE (\w+) (\w+)$", answer.read().decode(), re.M))
            if line.lstrip().startswith("HTTP"):
                return found
        raise SystemExit("the binary does not start")
    finally:
        process.terminate()
        process.wait()


def kind_of(sample, metrics):
    """The type of the metric that a sample belongs to, or None."""
    for pattern, kind in (
        (r"_total$", "counter"),
        (r"_(bucket|sum|count)$", "histogram"),
        (r"_info$", "info"),
    ):
        base = re.sub(pattern, "", sample)
        if base != sample and metrics.get(base) == kind:
            return kind
    return "gauge" if metrics.get(sample) == "gauge" else None


class Words:
    """What label values there can be: string literals of the sources, and calls of the protos."""

    def __init__(self, top):
        self.literals = set()
        for path in top.glob("*/src/**/*.rs"):
            self.literals |= set(re.findall(r'"([a-z_]+)"', path.read_text()))
        self.calls = {}
        for path in top.glob("proto/rtmp2rtsp/v1/*.proto"):
            text = path.read_text()
            for name, body in re.findall(r"^service (\w+) \{(.*?)^\}", text, re.S | re.M):
                self.calls[f"rtmp2rtsp.v1.{name}"] = set(re.findall(r"rpc (\w+)\(", body))

    def has(self, label, value):
        """Whether a label can have a value."""
        if label in SCRAPED:
            return True
        if label == "method":
            service, call = value.split("/", 1)
            return call == ".*" and service in self.calls or call in self.calls.get(service, ())
        return value in self.literals


def check_expression(expression, metrics, words):
    """What is wrong with one PromQL expression."""
    for sample, selector in re.findall(r"\b(rtmp2rtsp_\w+)(\{[^}]*\})?", expression):
        if kind_of(sample, metrics) is None:
            yield f"the binary has no {sample}"
        for label, _, values in re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', selector):
            for value in values.split("|"):
                if not words.has(label, value):
                    yield f"{sample} has no {label} {value}"


def check_rules(rules, tests, metrics, words):
    """Alerts name what there is, and each has a test in which it fires and one in which it is silent."""
    problems, alerts = [], set()
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        alerts.add(rule["alert"])
        problems += [
            f"alert {rule['alert']}: {p}" for p in check_expression(rule["expr"], metrics, words)
        ]
        if rule["labels"].get("severity") not in ("critical", "warning"):
            problems.append(f"alert {rule['alert']} has no severity")
        if not rule.get("annotations", {}).get("summary"):
            problems.append(f"alert {rule['alert']} has no summary")
    cases = [case for test in tests["tests"] for case in test["alert_rule_test"]]
    for word, those in (
        ("fires", {c["alertname"] for c in cases if c.get("exp_alerts")}),
        ("is silent", {c["alertname"] for c in cases if not c.get("exp_alerts")}),
    ):
        problems += [f"alert {name}: no test in which it {word}" for name in sorted(alerts - those)]
        problems += [
            f"alert {name} is tested and does not exist" for name in sorted(those - alerts)
        ]
    for series in (s["series"] for test in tests["tests"] for s in test["input_series"]):
        problems += [
            f"alerts-test: {p}"
            for p in check_expression(series, metrics, words)
            if "has no task" not in p
        ]
    return problems


def check_dashboard(text, metrics, words):
    """Panels name what there is, and have an id of their own."""
    panels = json.loads(text)["panels"]
    problems = []
    for panel in panels:
        for target in panel["targets"]:
            problems += [
                f"dashboard, {panel['title']}: {p}"
                for p in check_expression(target["expr"], metrics, words)
            ]
    if len({p["id"] for p in panels}) != len(panels):
        problems.append("dashboard: two panels have one id")
    return problems


def check_adapter(text, manifests, metrics):
    """prometheus-adapter makes the metrics that the autoscalers ask for."""
    rules = yaml.safe_load(text)["rules"]["custom"]
    made = {rule["name"]["as"] for rule in rules}
    asked = {
        m["pods"]["metric"]["name"]
        for h in manifests.of("HorizontalPodAutoscaler")
        for m in h["spec"]["metrics"]
        if m["type"] == "Pods"
    }
    problems = [f"prometheus-adapter does not make {name}" for name in sorted(asked - made)]
    for rule in rules:
        sample = rule["seriesQuery"].split("{")[0]
        if kind_of(sample, metrics) != "gauge":
            problems.append(f"prometheus-adapter: the binary has no gauge {sample}")
    return problems


def check(top, manifests, binary_metrics):
    """All of components/monitoring."""
    folder = pathlib.Path(top, "deploy/kubernetes/components/monitoring")
    words = Words(top)
    rules = yaml.safe_load((folder / "alerts.yaml").read_text())["spec"]
    tests = yaml.safe_load((folder / "alerts-test.yaml").read_text())
    return (
        check_rules(rules, tests, binary_metrics, words)
        + check_dashboard((folder / "dashboard.json").read_text(), binary_metrics, words)
        + check_adapter((folder / "prometheus-adapter.yaml").read_text(), manifests, binary_metrics)
    )

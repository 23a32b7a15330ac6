"""That the checks can fail: each breaks the committed manifests in one place and has to be told of it.

BINARY=target/debug/rtmp2rtsp python3 -m unittest test_checks
"""

import copy
import unittest

import yaml

import image
import main
import metrics
from breakable import BINARY, EXPORTED, Broken
from broken import NETWORK, REFERENCES, WORKLOADS
from manifests import Manifests

VERSION = main.cargo()["workspace"]["package"]["version"]


class OverlaysTest(unittest.TestCase):
    """Kubernetes."""

    def test_the_committed_overlays_are_right(self):
        for overlay in main.OVERLAYS:
            self.assertEqual(Broken(overlay).told(), "", overlay)

    def test_what_is_broken_is_told(self):
        for overlay, harm, wanted in WORKLOADS + REFERENCES + NETWORK:
            with self.subTest(wanted=wanted, overlay=overlay):
                broken = Broken(overlay)
                harm(broken)
                if wanted is None:
                    self.assertEqual(broken.told(), "")
                else:
                    self.assertIn(wanted, broken.told())


class MonitoringTest(unittest.TestCase):
    """Alerts, dashboard, adapter."""

    def setUp(self):
        folder = main.TREE / "components/monitoring"
        self.rules = yaml.safe_load((folder / "alerts.yaml").read_text())["spec"]
        self.tests = yaml.safe_load((folder / "alerts-test.yaml").read_text())
        self.dashboard = (folder / "dashboard.json").read_text()
        self.adapter = (folder / "prometheus-adapter.yaml").read_text()
        self.words = metrics.Words(main.TOP)

    def told(self):
        return "\n".join(metrics.check_rules(self.rules, self.tests, EXPORTED, self.words))

    def test_a_metric_that_the_binary_has_not_is_told(self):
        rule = self.rules["groups"][0]["rules"][1]
        for expression, wanted in [
            ("rtmp2rtsp_ingest_publisher > 0", "the binary has no rtmp2rtsp_ingest_publisher"),
            (
                "rtmp2rtsp_ingest_publishers_total > 0",
                "the binary has no rtmp2rtsp_ingest_publishers_total",
            ),
            (
                "rtmp2rtsp_publish_reader_loss_ratios_total > 0",
                "the binary has no rtmp2rtsp_publish_reader_loss_ratios_total",
            ),
            (
                'rtmp2rtsp_ingest_dropped_total{reason=~"leg_behind|lost_leg"} > 0',
                "rtmp2rtsp_ingest_dropped_total has no reason lost_leg",
            ),
            ('rtmp2rtsp_grpc_calls_total{code="UNAVAILABLE"} > 0', "has no code UNAVAILABLE"),
            (
                'rtmp2rtsp_grpc_calls_total{method="rtmp2rtsp.v1.Registry/Claim"} > 0',
                "has no method rtmp2rtsp.v1.Registry/Claim",
            ),
        ]:
            with self.subTest(wanted=wanted):
                rule["expr"] = expression
                self.assertIn(wanted, self.told())

    def test_an_alert_without_a_test_is_told(self):
        rule = copy.deepcopy(self.rules["groups"][0]["rules"][0])
        rule["alert"] = "Rtmp2rtspNew"
        self.rules["groups"][0]["rules"].append(rule)
        self.assertIn("alert Rtmp2rtspNew: no test in which it fires", self.told())
        self.assertIn("alert Rtmp2rtspNew: no test in which it is silent", self.told())

    def test_dashboard_and_adapter_are_held_to_the_metrics_too(self):
        dashboard = self.dashboard.replace("rtmp2rtsp_publish_readers{", "rtmp2rtsp_readers{")
        self.assertIn(
            "the binary has no rtmp2rtsp_readers",
            "".join(metrics.check_dashboard(dashboard, EXPORTED, self.words)),
        )
        adapter = self.adapter.replace("as: rtmp2rtsp_ingest_streams", "as: streams")
        manifests = Manifests(Broken("cluster").docs)
        self.assertEqual(
            metrics.check_adapter(adapter, manifests, EXPORTED),
            ["prometheus-adapter does not make rtmp2rtsp_ingest_streams"],
        )


class ImageTest(unittest.TestCase):
    """Dockerfile and compose.yaml."""

    def dockerfile(self, old, new):
        text, ignore = (
            (main.TOP / "deploy/Dockerfile").read_text(),
            (main.TOP / ".dockerignore").read_text(),
        )
        self.assertIn(old, text + ignore)
        return "\n".join(
            image.check_dockerfile(
                text.replace(old, new), ignore.replace(old, new), main.cargo(), BINARY
            )
        )

    def test_a_broken_dockerfile_is_told(self):
        for old, new, wanted in [
            ("FROM scratch", "FROM debian:12", "the image stands on debian:12"),
            ("USER 65532:65532", "USER root", "the user is no number but root's"),
            ('"healthcheck"]', '"--version"]', "HEALTHCHECK is not the binary's own"),
            ("EXPOSE 1935", "EXPOSE 1936", "it exposes 1936"),
            ("rust:1.95", "rust:1.80", "Rust is below [1, 88]"),
            ("ARG FEATURES=etcd", "ARG FEATURES=", "the image cannot use etcd"),
            ("!svc-core", "", "svc-core does not get into the build"),
        ]:
            with self.subTest(wanted=wanted):
                self.assertIn(wanted, self.dockerfile(old, new))

    def test_a_broken_compose_file_is_told(self):
        text = (main.TOP / "deploy/compose.yaml").read_text()
        for old, new, wanted in [
            (
                "RTMP2RTSP_PUBLISH_RTP_ADDRESS: 172.30.53.22",
                "RTMP2RTSP_PUBLISH_RTP_ADDRESS: 172.30.53.23",
                "compose, publish-2: publish.rtp_address is not its address 172.30.53.22",
            ),
            (
                "RTMP2RTSP_INGEST_ID: ingest-2",
                "RTMP2RTSP_INGEST_IDS: ingest-2",
                "compose, ingest-2: the binary refuses",
            ),
            (
                "127.0.0.1:50062:50052",
                "50062:50052",
                "compose, publish-2: grpc is open to other machines",
            ),
            ('"1945:1935"', '"1935:1935"', "compose: 1935 is taken twice"),
            (
                '"8001:8001/udp"',
                '"8002:8001/udp"',
                "compose, single: readers are told of other UDP ports",
            ),
            (
                "stop_grace_period: 30s",
                "stop_grace_period: 20s",
                "compose, single: it is killed after 20 s",
            ),
            (
                "http://publish-2:50052",
                "http://publish-3:50052",
                "compose, ingest-1: there is no publish-3",
            ),
            (
                "read_only: true",
                "read_only: false",
                "compose, single: its file system can be written to",
            ),
            (
                "image: rtmp2rtsp:0.1.0",
                "image: rtmp2rtsp:9.9.9",
                "compose, single: its image is rtmp2rtsp:9.9.9",
            ),
        ]:
            with self.subTest(wanted=wanted):
                self.assertIn(old, text)
                compose = yaml.safe_load(text.replace(old, new))
                self.assertIn(wanted, "\n".join(image.check_compose(compose, VERSION, BINARY)))


if __name__ == "__main__":
    unittest.main()

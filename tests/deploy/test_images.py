"""The images are made of what is there.  No test builds one: there is no container engine for tests."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.judges import DEPLOY
from tests.e2e.harness import ROOT

IMAGES = sorted(DEPLOY.glob("Dockerfile*"))


def copied(file: Path) -> Iterator[str]:
    """What comes from the checkout."""
    for line in re.sub(r"\\\n", " ", file.read_text()).splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not any(word.startswith("--from") for word in words):
            yield from [word for word in words[1:-1] if not word.startswith("--")]


@pytest.mark.parametrize("file", IMAGES, ids=lambda file: file.name)
def test_whatever_is_copied_is_there(file: Path) -> None:
    names = list(copied(file))
    assert names
    assert not [name for name in names if not (ROOT / name).exists()]


@pytest.mark.parametrize("file", IMAGES, ids=lambda file: file.name)
def test_an_image_runs_as_nobody_and_has_stages(file: Path) -> None:
    text = file.read_text()
    users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert users
    assert int(users[-1]) > 0
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) >= 2


def test_what_is_installed_is_pinned_and_checked() -> None:
    assert "--constraint requirements.lock" in (DEPLOY / "Dockerfile").read_text()
    brain = (DEPLOY / "Dockerfile.flink").read_text()
    assert "--require-hashes" in brain
    assert "sha512sum --check --quiet /tmp/connector.sha512" in brain


def test_the_image_of_the_brain_is_of_the_flink_that_python_speaks_to() -> None:
    (image,) = re.findall(r"^ARG FLINK=(\S+)$", (DEPLOY / "Dockerfile.flink").read_text(), re.MULTILINE)
    (wheel,) = re.findall(r"^apache-flink==(\S+)$", (ROOT / "flink/requirements.in").read_text(), re.MULTILINE)
    chart = (DEPLOY / "helm/heliograph/values.yaml").read_text()
    assert image == wheel
    assert f"flink-python-{wheel}.jar" in chart

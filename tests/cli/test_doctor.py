"""`heliograph doctor`: a table and its mends for people, JSON for scripts, an exit code for both."""

import json
from pathlib import Path

import pytest

from heliograph.doctor import NAMES
from tests.cli.conftest import SHOP, Run


@pytest.fixture
def project(tmp_path: Path, run: Run) -> Path:
    folder = tmp_path / "project"
    assert run("init", folder).code == 0
    return folder


def test_what_fails_is_said_with_its_mend_and_ends_with_1(project: Path, tmp_path: Path, run: Run) -> None:
    said = run("doctor", project, "--data", tmp_path, "--only", "relays", "--only", "settings")
    assert said.code == 1
    assert "nothing listens there" in said.out
    assert "relay.default: is it running" in said.out
    assert "1 fail" in said.out


def test_what_is_well_ends_with_0(project: Path, tmp_path: Path, run: Run) -> None:
    said = run("doctor", project, "--data", tmp_path, "--only", "settings", "--only", "data_folder")
    assert (said.code, "fail" in said.out) == (0, False)


def test_json_has_every_finding_and_the_counts(project: Path, tmp_path: Path, run: Run) -> None:
    said = run("doctor", project, "--data", tmp_path, "--json", "--only", "relays", "--only", "kafka")
    answer = json.loads(said.out)
    assert said.code == 1
    assert [(one["name"], one["status"]) for one in answer["checks"]] == [
        ("relay.default", "fail"), ("kafka", "skipped"), ("clock.skew", "skipped"),
    ]  # fmt: skip
    assert answer["counts"] == {"ok": 0, "warn": 0, "fail": 1, "skipped": 2}


def test_mend_makes_the_data_folder(project: Path, tmp_path: Path, run: Run) -> None:
    data = tmp_path / "new"
    run("doctor", project, "--data", data, "--only", "data_folder")
    assert not data.exists()
    run("doctor", project, "--data", data, "--only", "data_folder", "--mend")
    assert data.is_dir()


def test_settings_that_are_wrong_are_named_one_by_one(tmp_path: Path, run: Run) -> None:
    (tmp_path / "heliograph.toml").write_text('[project]\nname = "x"\ntimezone = "Mars"\n[smtpp]\n')
    said = run("doctor", tmp_path, "--only", "settings", "--json")
    seen = [one["seen"] for one in json.loads(said.out)["checks"] if one["name"] == "settings"]
    assert said.code == 1
    assert any("timezone" in text for text in seen)
    assert any("smtpp" in text for text in seen)


def test_a_check_that_there_is_not_is_wrong_use(run: Run) -> None:
    said = run("doctor", SHOP, "--only", "karfka")
    assert said.code == 2
    assert all(name in said.err for name in NAMES)


def test_no_secret_of_the_project_is_printed(project: Path, tmp_path: Path, run: Run) -> None:
    text = (project / "heliograph.toml").read_text()
    secret = "s3cret%21word"
    (project / "heliograph.toml").write_text(text.replace("smtp://", f"smtp://me:{secret}@", 1))
    assert secret in (project / "heliograph.toml").read_text()
    for form in ((), ("--json",)):
        said = run("doctor", project, "--data", tmp_path, "--only", "relays", "--only", "settings", *form)
        assert "s3cret" not in said.out + said.err

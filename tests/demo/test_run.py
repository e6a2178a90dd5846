"""demo: what it tells people to type."""

from pathlib import Path

import pytest

from heliograph.demo import run


def test_what_it_says_to_type_is_found_whatever_was_activated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run.command() == "heliograph", "there is no other"
    beside = tmp_path / "heliograph"
    beside.touch(mode=0o755)
    assert run.command() == "heliograph"
    monkeypatch.setenv("PATH", "/nowhere")
    assert run.command() == str(beside)

"""backtest and shadow as a user calls them, against a running server and against its folder."""

import http.client
import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .conftest import SHOP, Run

JOURNEY = (SHOP / "journeys" / "welcome.yaml").read_text()
DRAFT = """\
name: greeting
entry: {event: Signed Up}
steps:
  - send: hello-there
"""


def post(server: str, call: dict[str, Any]) -> None:
    body = json.dumps({"writeKey": "demo-write-key", **call}).encode()
    request = urllib.request.Request(f"{server}/v1/{call['type']}", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()


def sign_up(server: str, who: str) -> None:
    post(server, {"type": "identify", "userId": who, "traits": {"email": f"{who}@people.example", "firstName": who}})
    post(server, {"type": "track", "userId": who, "event": "Signed Up", "properties": {"plan": "free"}})


@pytest.fixture(scope="module")
def lived(server: str) -> str:
    """Two people have signed up."""
    for who in ("t-ann", "t-bob"):
        sign_up(server, who)
    return server


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    file = tmp_path / "greeting.yaml"
    file.write_text(DRAFT)
    return file


def test_a_draft_is_tried_on_what_the_server_has_seen(run: Run, lived: str, draft: Path) -> None:
    said = run("backtest", draft, "--url", lived, "--since", "P1D", "--json")
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert report["journey"] == "greeting"
    assert report["draft"]["entrants"] == report["draft"]["mails"] in (2, 3)  # t-cyd of the shadow may be there
    assert report["live"] is None
    assert "hello-there" in " ".join(report["notes"])


def test_the_report_is_readable_too(run: Run, lived: str, draft: Path) -> None:
    said = run("backtest", draft, "--url", lived)
    assert said.code == 0, said.err
    assert re.search("greeting over [23] people", said.out)
    for words in ("people who enter", "step by step", "who would get most", "t-ann"):
        assert words in said.out


def test_mistakes_are_told_with_their_lines(run: Run, lived: str, draft: Path) -> None:
    draft.write_text(DRAFT.replace("{event: Signed Up}", "{segment: staf}"))
    said = run("backtest", draft, "--url", lived)
    assert said.code == 1
    assert f"{draft}:2: " in said.err
    assert "did you mean staff?" in said.err
    said = run("backtest", draft, "--url", lived, "--since", "yesterday")
    assert "`since` is a duration like P30D" in said.err


def test_a_backtest_ends_with_its_caller(run: Run, lived: str, draft: Path) -> None:
    """Otherwise the server would go on refusing others."""
    parts = urlsplit(lived)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0)
    body = json.dumps({"name": "greeting", "journey": {"entry": {"event": "Signed Up"}, "steps": [{"send": "x"}]}})
    connection.request("POST", "/api/backtests", body, {"Authorization": "Bearer demo-token"})
    connection.close()
    for _ in range(100):
        said = run("backtest", draft, "--url", lived)
        if said.code == 0:
            return
        assert "one at a time" in said.err
        time.sleep(0.1)
    raise AssertionError(said)


def test_a_shadow_lists_what_it_would_do_otherwise(run: Run, lived: str, tmp_path: Path) -> None:
    file = tmp_path / "welcome.yaml"
    file.write_text(JOURNEY.replace("send: welcome", "send: hello-there"))
    said = run("shadow", file, "--url", lived, "--for", "PT10M", "--detach", "--json")
    assert said.code == 0, said.err
    assert run("shadow", file, "--url", lived, "--detach").code == 1
    who = "t-cyd"
    sign_up(lived, who)
    found = until_differs(run, lived)
    assert (found["draft_entrants"], found["live_entrants"]) == (1, 1)
    (first,) = found["differences"]["listed"]
    assert (first["profile_id"], first["live"], first["draft"]) == (who, "mails welcome", "mails hello-there")
    assert first["live_at"] == first["draft_at"]
    said = run("shadow", "--url", lived, "--end", "--json")
    assert json.loads(said.out)["ended"]
    assert run("shadow", "--url", lived).code == 0


def until_differs(run: Run, server: str) -> dict[str, Any]:
    for _ in range(100):
        found: dict[str, Any] = json.loads(run("shadow", "--url", server, "--json").out)
        if found["differences"]["people"]:
            return found
        time.sleep(0.2)
    raise AssertionError(found)


def test_what_is_not_there_is_said(run: Run, tmp_path: Path, lived: str) -> None:
    assert "there is no file" in run("backtest", tmp_path / "none.yaml").err
    assert "which journey?" in run("backtest").err
    (tmp_path / "list.yaml").write_text("- a\n")
    assert "is no journey" in run("backtest", tmp_path / "list.yaml").err
    (tmp_path / "j.yaml").write_text(DRAFT)
    assert "is no data folder" in run("backtest", tmp_path / "j.yaml", "--data", tmp_path).err
    assert "name it with --data" in run("backtest", "--verify").err

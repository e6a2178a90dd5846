"""`heliograph demo` as somebody who tries it out: the printed line, Ctrl-C, a restart."""

import base64
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.harness import until


class Terminal:
    """The demo in a terminal; what it printed so far is ``said``."""

    def __init__(self, log: Path, *options: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "heliograph.cli", "demo", "--port", "0", "--smtp-port", "0", *options]
        environment = {**os.environ, "HELIOGRAPH_PROJECT_TIME_SCALE": "3600", "NO_COLOR": "1", "COLUMNS": "80"}
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment)

    @property
    def said(self) -> str:
        assert self.process.poll() is None, self._log.read_text()
        return self._log.read_text()

    def ready(self) -> str:
        until(lambda: "Ctrl-C" in self.said, f"the demo says that it is ready; its log: {self._log}")
        found = re.search(r"inbox +(http://\S+)/inbox", self.said)
        assert found
        return found[1]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def get(url: str) -> Any:
    request = urllib.request.Request(url, headers={"authorization": "Bearer demo-token"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def paste(line: str) -> Any:
    """Do what the printed curl line does, word by word as a shell reads it."""
    words = shlex.split(line)
    assert words[:2] == ["curl", "-u"]
    user, url, header, data = words[2], words[3], words[words.index("-H") + 1], words[words.index("-d") + 1]
    request = urllib.request.Request(url, data.encode(), method="POST")
    name, _, value = header.partition(": ")
    request.add_header(name, value)
    request.add_header("authorization", "Basic " + base64.b64encode(user.encode()).decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_the_printed_line_works_as_pasted_and_ctrl_c_and_a_restart_lose_nothing(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    first = Terminal(tmp_path / "first.log", "--no-traffic", "--data", data)
    url = first.ready()
    line = first.said[first.said.index("curl -u") :]
    line = line[: line.index("\n\n")]
    results = paste(line)["results"]
    assert [result["status"] for result in results] == ["accepted", "accepted"]
    until(lambda: mails_to_you(url), "the reminder is in the inbox")
    assert first.interrupt() == 0

    second = Terminal(tmp_path / "second.log", "--no-traffic", "--data", data)
    url = second.ready()
    assert len(mails_to_you(url)) >= 1
    assert get(url + "/api/profiles/you")["traits"]["firstName"] == "You"
    assert second.interrupt() == 0
    assert "Traceback" not in (tmp_path / "first.log").read_text() + (tmp_path / "second.log").read_text()


def mails_to_you(url: str) -> list[dict[str, Any]]:
    return [mail for mail in get(url + "/inbox/messages")["messages"] if mail["to"] == "you@visitors.example"]


def test_traffic_brings_mail_by_itself(tmp_path: Path) -> None:
    demo = Terminal(tmp_path / "demo.log")
    url = demo.ready()
    until(lambda: get(url + "/inbox/messages")["total"] >= 5, "simulated visitors get mail")
    assert demo.interrupt() == 0
    said = (tmp_path / "demo.log").read_text()
    assert "Traceback" not in said
    assert not re.search(r"^\{|\[info|\[debug", said, re.MULTILINE), "the screen is for people, not for logs"

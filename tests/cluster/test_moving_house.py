"""A deployment of one machine moves into several, by the commands of docs/how-to/move-house.md, with a `kill -9` in the
middle of the import: whoever lived there lives on."""

import os
import re
import signal
import subprocess
import urllib.request
from collections import Counter
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heliograph.adapters.kafka import ensure_topics
from heliograph.config.settings import KafkaSetting
from tests.cluster.drill_post import Mail, Street
from tests.cluster.drill_world import PATIENCE_S, Deployment, write
from tests.cluster.machine import HELIOGRAPH, Machine, call, eventually, order, put, ready
from tests.ports import free_port

DOC = Path(__file__).parents[2] / "docs" / "how-to" / "move-house.md"
CROWD = 4_000
"""People who are only there, so that the import takes several commits."""
WAIT_S = 60
FILES = {
    "journeys/timer.yaml": f"entry: {{event: Timer Set, key: properties.order_id}}\nsteps:\n  - wait: PT{WAIT_S}S\n"
    "  - send: note\n",
    "journeys/basket.yaml": """
entry: {event: Product Added, key: properties.order_id}
steps:
  - send: offer
  - wait_until:
      any: [{event: Email Clicked, then: continue}]
      timeout: P1D
      else: exit
  - send: note
""",
    "segments/buyers.yaml": "name: buyers\nif: {did: {event: Order Completed}}\n",
    "templates/offer/body.html": '<p>It waits: <a href="https://shop.test/basket">look</a></p>\n',
}
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/139.0 Safari/537.36"


class Old:
    """The machine that they leave."""

    def __init__(self, there: Deployment, folder: Path) -> None:
        self.data, self.url = folder / "old", f"http://127.0.0.1:{(port := free_port())}"
        command = [HELIOGRAPH, "serve", "--project", str(there.project), "--data", str(self.data), "--port", str(port)]
        self.machine = Machine(command, {"HELIOGRAPH_PROJECT_BASE_URL": self.url}, folder / "old.log")
        there.machines.append(self.machine)
        eventually(lambda: call(self.url + "/readyz")[0] == 200 or self.machine.process.poll() is not None)
        assert self.machine.process.poll() is None, self.machine.said()

    def live(self, there: Deployment, street: Street) -> None:
        """A crowd; mail sent, put off and waiting to be clicked; a run that waits; words of consent."""
        crowd = there.project.parent / "crowd.csv"
        crowd.write_text("user_id,email,country\n" + "".join(f"c{n},c{n}@x.test,DE\n" for n in range(CROWD)))
        environment = {**os.environ, "HELIOGRAPH_API_TOKEN": "kill-token"}
        subprocess.run([HELIOGRAPH, "import", str(crowd), "--url", self.url, "--project", str(there.project)],
                       env=environment, check=True, capture_output=True)  # fmt: skip
        street.post.full.add("full@x.test")
        for name, event in EVENTS:
            assert call(self.url + "/v1/batch", order(name, event))[0] == 200
        eventually(lambda: {"ann@x.test", "bob@x.test", "gone@x.test", "quiet@x.test"} <= street.post.first.keys())
        eventually(lambda: any(one["reason"] for one in messages(self.url, "full")))
        assert fetch("POST", unsubscribe_link(street, "gone@x.test"), self.url)[0] == 200
        assert put(self.url + "/api/suppressions/stopped@x.test") == 200


EVENTS = (
    ("ann", "Order Completed"), ("tim", "Timer Set"), ("full", "Order Completed"),
    ("bob", "Product Added"), ("gone", "Product Added"), ("quiet", "Product Added"),
)  # fmt: skip
MOVING_ON = ("tim", "full")
"""Those whose run ends as soon as there is somebody who decides, or delivers."""
KNOWN = ("ann", "tim", "full", "bob", "gone", "quiet", "c0", f"c{CROWD - 1}")


def test_a_deployment_moves_and_everybody_lives_on(
    there: Deployment, street: Street, tmp_path: Path, kafka: KafkaSetting
) -> None:
    ensure_topics(kafka)
    write(there.project, FILES)
    there.flink.await_slots(1)
    old = Old(there, tmp_path)
    old.live(there, street)
    eventually(lambda: at_rest(old.url))
    before = {name: call(f"{old.url}/api/profiles/{name}")[2] for name in KNOWN}
    sent = {name: messages(old.url, name) for name in KNOWN}
    members = call(f"{old.url}/api/segments/buyers/members")[2]
    (began,) = before["tim"]["runs"]
    assert began["status"] == "active"
    assert old.machine.stop() == 0
    street.post.full.clear()
    move(there, old.data)
    machines = [there.serve("collect", "collect"), there.serve("deliver", "deliver")]
    for machine in machines:
        ready(machine)
    eventually(lambda: call(f"{there.url}/api/profiles/c0")[0] == 200)
    after = {name: call(f"{there.url}/api/profiles/{name}")[2] for name in KNOWN}
    for name in MOVING_ON:
        assert came_in(after[name].pop("runs")) == came_in(before[name].pop("runs"))
    assert after == before
    assert call(f"{there.url}/api/segments/buyers/members")[2] == members
    for name in KNOWN:
        assert {one["message_id"]: one["created_at"] for one in sent[name]}.items() <= {
            one["message_id"]: one["created_at"] for one in messages(there.url, name)
        }.items()
    go_on(there, street, began)
    taken = Counter(mail.message_id for mail in street.post.mails)
    assert set(taken.values()) == {1}
    assert Counter(mail.address for mail in street.post.mails) == {
        "ann@x.test": 1, "tim@x.test": 1, "full@x.test": 1, "bob@x.test": 2, "gone@x.test": 1, "quiet@x.test": 1,
    }  # fmt: skip


def move(there: Deployment, data: Path) -> None:
    """Each command of the page, in its order; the import is killed once."""
    commands = re.findall(r"`heliograph ([^`]+)`", DOC.read_text())
    for words in (command.replace("/var/lib/heliograph", str(data)).split() for command in commands):
        if words[0] == "import":
            interrupt(there, words)
        if words[0] == "doctor":  # which also says that no server runs yet
            subprocess.run(
                [HELIOGRAPH, *words], cwd=there.project, env={**os.environ, **there.environment}, check=False
            )
            continue
        print(words, there.heliograph(*words))  # noqa: T201
    assert [command.split()[0] for command in commands] == ["doctor", "db", "flink", "export", "import"]
    assert "there already" in there.heliograph(*words)


def interrupt(there: Deployment, words: list[str]) -> None:
    with subprocess.Popen(
        [HELIOGRAPH, *words], cwd=there.project, env={**os.environ, **there.environment}, stdout=subprocess.PIPE
    ) as importing:
        assert importing.stdout is not None
        assert b"2,000 rows" in importing.stdout.readline()
        importing.send_signal(signal.SIGKILL)
    assert importing.returncode == -signal.SIGKILL


def go_on(there: Deployment, street: Street, began: dict[str, Any]) -> None:
    """What was waited for comes, at its instant; links of old mails work; who withdrew has withdrawn."""
    eventually(lambda: "tim@x.test" in street.post.first, PATIENCE_S)
    (note,) = messages(there.url, "tim")
    assert note["created_at"] == began["entered_at"] + WAIT_S * 1000
    eventually(lambda: "full@x.test" in street.post.first, PATIENCE_S)
    opened, clicked = links(mail_of(street, "bob@x.test"))
    assert fetch("GET", opened, there.url)[0] == 200
    status, headers = fetch("GET", clicked, there.url)
    assert (status, headers["location"]) == (302, "https://shop.test/basket")
    eventually(lambda: len(messages(there.url, "bob")) == 2, PATIENCE_S)
    kinds = {outcome["kind"] for one in messages(there.url, "bob") for outcome in one["outcomes"]}
    assert {"opened", "clicked"} <= kinds
    assert fetch("POST", unsubscribe_link(street, "quiet@x.test"), there.url)[0] == 200
    for name in ("gone", "quiet"):
        ended = order(name, "Product Added")
        ended["batch"][0]["messageId"] = ended["batch"][0]["properties"]["order_id"] = f"again-{name}"
        assert call(there.url + "/v1/batch", ended)[0] == 200
    stopped = order("stopped", "Order Completed")
    position = call(there.url + "/v1/batch", stopped)[2]["position"]
    eventually(lambda: call(f"{there.url}/api/profiles/stopped?after={position}")[0] == 200)
    eventually(lambda: statuses(there, "stopped") in (["skipped"], ["cancelled"]), PATIENCE_S)
    eventually(lambda: {one["status"] for one in messages(there.url, "bob")} == {"sent"}, PATIENCE_S)
    for name in ("gone", "quiet"):
        eventually(lambda name=name: statuses(there, name) in (["skipped", "sent"], ["cancelled", "sent"]))
    eventually(lambda: ends_of(there, "tim") == [(began["run_id"], "finished")])


# -- looking --


def messages(url: str, name: str) -> list[dict[str, Any]]:
    status, _, said = call(f"{url}/api/messages?profile={name}")
    found: list[dict[str, Any]] = said["messages"] if status == 200 else []
    return found


def at_rest(url: str) -> bool:
    """Whether all that has happened to them is decided."""
    said = {name: call(f"{url}/api/profiles/{name}")[2] for name in ("ann", "bob", "gone", "quiet")}
    taken = all([one["status"] for one in messages(url, name)] == ["sent"] for name in said)
    withdrawn = not said["gone"]["consent"]["topics"]["marketing"]["given"]
    return taken and withdrawn and said["ann"]["runs"][0]["status"] == "finished"


def came_in(runs: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(run["run_id"], run["entered_at"]) for run in runs]


def statuses(there: Deployment, name: str) -> list[str]:
    """The newest first: skipped where the brain knew that it is not wanted, else cancelled at its commit point."""
    return [one["status"] for one in messages(there.url, name)]


def ends_of(there: Deployment, name: str) -> list[tuple[str, str]]:
    return [(run["run_id"], run["status"]) for run in call(f"{there.url}/api/profiles/{name}")[2]["runs"]]


def mail_of(street: Street, address: str) -> Mail:
    return next(mail for mail in street.post.mails if mail.address == address)


def unsubscribe_link(street: Street, address: str) -> str:
    return mail_of(street, address).unsubscribe


def links(mail: Mail) -> tuple[str, str]:
    """The open pixel and the first tracked link."""
    parts = message_from_bytes(mail.data).walk()
    (page,) = (part.get_payload(decode=True).decode() for part in parts if part.get_content_type() == "text/html")
    opened, clicked = re.search(r'"([^"]+/o/[^"]+)"', page), re.search(r'"([^"]+/c/[^"]+)"', page)
    assert opened is not None and clicked is not None, page
    return opened[1], clicked[1]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is an answer."""


def fetch(method: str, link: str, url: str) -> tuple[int, dict[str, str]]:
    """The link's name leads to ``url`` now."""
    request = urllib.request.Request(url + urlsplit(link).path, method=method, headers={"user-agent": BROWSER})
    if method == "POST":
        request.data = b"List-Unsubscribe=One-Click"
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=15) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as answer:
        return answer.code, {name.lower(): value for name, value in answer.headers.items()}

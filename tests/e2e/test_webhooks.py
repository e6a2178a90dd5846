"""A journey asks a CRM and mails what it answered; another system asks somebody into a journey; kill -9 in between."""

import asyncio
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.e2e.harness import Receiver, Server, text_of
from tests.http_servers import Answerer, Asked, Site, reply, site

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KILLS = int(os.environ.get("HELIOGRAPH_TEST_KILLS", "4"))
PEOPLE = 60
"""Asked about between two kills."""

TOML = """
[project]
name = "crm"
[collect]
write_key = "demo-write-key"
[api]
token = "demo-token"
[smtp]
url = "smtp://127.0.0.1:1"
[sender.default]
from = "Shop <shop@example.com>"
"""
JOURNEY = """
entry: {event: Signed Up}
steps:
  - webhook:
      url: "URL?plan={{ event.properties.plan }}"
      json: {id: "{{ profile.id }}", plan: "{{ event.properties.plan }}"}
      as: crm
      else: [{send: plain}, {exit: true}]
  - branch:
      - {if: {everyone: true}, then: [{send: offer}]}
"""
INVITE = """
entry: {api: true, key: properties.code}
steps: [{send: invite}]
"""
BODIES = {"offer": "Your adviser is {{ webhook.crm.adviser.name }}", "plain": "Hello", "invite": "Code {{ run.key }}"}


def write_project(folder: Path, url: str) -> Path:
    files = {
        "heliograph.toml": TOML,
        "journeys/welcome.yaml": JOURNEY.replace("URL", url),
        "journeys/invite.yaml": INVITE,
        **{f"templates/{name}/message.yaml": f"subject: {name}\nclass: transactional\n" for name in BODIES},
        **{f"templates/{name}/body.html": f"<p>{body}</p>\n" for name, body in BODIES.items()},
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def sign_up(name: str, plan: str = "pro max") -> dict[str, Any]:
    context = {"traits": {"email": f"{name}@example.com"}}
    return {"messageId": f"m-{name}", "userId": name, "event": "Signed Up", "properties": {"plan": plan},
            "context": context}  # fmt: skip


async def until(fact: Any, patience_s: float = 60.0) -> None:
    async with asyncio.timeout(patience_s):
        while not await asyncio.to_thread(fact):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class World:
    """A server with its receiver of mail and the CRM that it asks."""

    def __init__(self, folder: Path, crm: Site, mail: Receiver) -> None:
        self.crm, self.mail = crm, mail
        project = write_project(folder / "project", crm.url)
        self.server = Server(project, folder / "data", mail.url, HELIOGRAPH_WEBHOOKS_SECRETS=SECRET)

    async def track(self, *calls: dict[str, Any]) -> None:
        answers = await asyncio.to_thread(self.server.send, *({"type": "track", **call} for call in calls))
        assert {answer["status"] for answer in answers} == {"accepted"}


async def test_what_the_crm_answers_is_in_the_mail(tmp_path: Path) -> None:
    busy = [reply(500), reply(503, retry_after="1")]

    async def answer(asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if json.loads(asked.body)["id"] == "nobody":
            writer.write(reply(404))
        else:
            writer.write(busy.pop() if busy else reply(200, b'{"adviser": {"name": "Zo\xc3\xab & Co"}}'))

    with Receiver() as mail:
        async with site(answer) as crm:
            world = World(tmp_path, crm, mail)
            server = await asyncio.to_thread(world.server.start)
            try:
                await world.track(sign_up("ann"), sign_up("nobody"))
                await until(lambda: len(mail.mails()) == 2)
                assert "Your adviser is Zoë & Co" in text_of(mail.to("ann@example.com")[0])
                assert "Hello" in text_of(mail.to("nobody@example.com")[0])
                check_requests(crm)
                entered = await asyncio.to_thread(enter, server, code="A1")
                again = await asyncio.to_thread(enter, server, code="A1")
                assert (entered["status"], again["status"]) == ("started", "duplicate")
                assert entered["run_id"] == again["run_id"] and entered["entry_key"] == "A1"
                await until(lambda: len(mail.mails()) == 3)
                assert "Code A1" in text_of(mail.mails()[2])
                why = await asyncio.to_thread(server.get, "/api/profiles/nobody/timeline")
                assert "404 Not Found" in json.dumps(why)
            finally:
                await asyncio.to_thread(server.stop)


def enter(server: Server, code: str) -> dict[str, Any]:
    body = {"profile": "ann@example.com", "properties": {"code": code}, "event_id": code}
    found: dict[str, Any] = server.call("POST", "/api/journeys/invite/runs", body)
    return found


def check_requests(crm: Site) -> None:
    """Every try is signed at its own time, under the one id of its request."""
    of: dict[str, set[str]] = {}
    for asked in crm.asked:
        said = Webhook(SECRET).verify(asked.body, asked.headers)
        of.setdefault(said["id"], set()).add(asked.headers["webhook-id"])
        assert said["plan"] == "pro max" and asked.path == "/hook?plan=pro%20max"
    assert {name: len(ids) for name, ids in of.items()} == {"ann": 1, "nobody": 1}
    assert len(crm.asked) == 4


@pytest.mark.slow
async def test_kill_9_between_a_request_and_its_answer_leaves_nobody_waiting(tmp_path: Path) -> None:
    seed = int(os.environ.get("HELIOGRAPH_TEST_SEED", "0")) or random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    held = asyncio.Event()
    with Receiver() as mail:
        async with site(answering_late(chance, held)) as crm:
            world = World(tmp_path, crm, mail)
            names = [f"c{n}" for n in range(KILLS * PEOPLE)]
            hit = 0
            for round_ in range(KILLS):
                server = await asyncio.to_thread(world.server.start)
                await world.track(*map(sign_up, names[round_ * PEOPLE : (round_ + 1) * PEOPLE]))
                await until(lambda: crm.open)
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                hit += crm.open > 0
                await asyncio.to_thread(server.kill)
            held.set()
            server = await asyncio.to_thread(world.server.start)
            try:
                await until(lambda: server.get("/api/journeys")["journeys"][1]["active"] == 0, 120)
                await until(lambda: not server.get("/api/webhooks")["webhooks"])
                await until(server.settled)  # counts are told a commit ahead of rows
                sent = [one for one in server.messages() if one["status"] in ("sent", "unknown")]
            finally:
                await asyncio.to_thread(server.stop)
    assert sorted(one["profile_id"] for one in sent) == sorted(names), f"seed {seed}"
    assert {one["template"] for one in sent} == {"offer"}, f"seed {seed}"
    ids = {json.loads(asked.body)["id"]: asked.headers["webhook-id"] for asked in crm.asked}
    tries = Counter(asked.headers["webhook-id"] for asked in crm.asked)
    assert len(ids) == len(tries) == len(names), f"seed {seed}: somebody was asked about under two ids, or not at all"
    assert hit == KILLS and max(tries.values()) <= KILLS + 1, f"seed {seed}: {tries.most_common(3)}"


def answering_late(chance: random.Random, held: asyncio.Event) -> Answerer:
    """Half of the answers come at once, the others not before the end of the kills."""

    async def answer(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if chance.random() < 0.5:
            await held.wait()
        writer.write(reply(200, b'{"adviser": {"name": "Zoe"}}'))

    return answer

"""kill -9 of the whole process tree, again and again in the middle of a broadcast: nobody gets it twice, nobody is left
out, and the progress that the API tells is what the receiver and the ledger have.

Among the audience: addresses that two people share, people without an address, people who withdrew.
"""

import asyncio
import base64
import contextlib
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.test_kill9 import (
    CONNECTIONS,
    KEY,
    PATIENCE_S,
    TOKEN,
    TOML,
    Receiver,
    Tree,
    exchange,
    free_port,
)

PEOPLE = int(os.environ.get("HELIOGRAPH_TEST_PEOPLE", "3000"))
KILLS = int(os.environ.get("HELIOGRAPH_TEST_KILLS", "10"))
SHARED, HOMELESS, WITHDRAWN = PEOPLE // 30, PEOPLE // 60, PEOPLE // 60
PORTION = 500
FILES = {
    "policies.yaml": "topics: {offers: {consent: required}}\n",
    "segments/readers.yaml": "name: readers\nif: {trait: {path: reader, is: true}}\n",
    "templates/letter/message.yaml": 'subject: "Dear {{ profile.name }}"\nsender: default\n',
    "templates/letter/body.html": "<p>Dear {{ profile.name }}</p>\n",
}
BROADCAST = {
    "id": "drill",
    "name": "Drill",
    "template": "letter",
    "topic": "offers",
    "audience": {"segment": "readers"},
}


class Person(NamedTuple):
    name: str
    address: str | None
    consent: bool


def audience() -> list[Person]:
    """Everybody is in the segment; who of those that share an address comes first, the broadcast decides."""
    people = [Person(f"p{n}", f"p{n}@customers.test", True) for n in range(PEOPLE - SHARED - HOMELESS - WITHDRAWN)]
    people += [Person(f"shared{n}", people[n].address, True) for n in range(SHARED)]
    people += [Person(f"homeless{n}", None, True) for n in range(HOMELESS)]
    people += [Person(f"withdrawn{n}", f"withdrawn{n}@customers.test", False) for n in range(WITHDRAWN)]
    return people


class Drill:
    """A server that may be dead, spoken to one call at a time."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    async def call(self, method: str, path: str, body: Any = None, authorization: str = f"Bearer {TOKEN}") -> Any:
        data = json.dumps(body).encode() if body is not None else b""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.tree.port)
        try:
            status, answer = await exchange(reader, writer, method, path, data, authorization)
        finally:
            writer.close()
        assert status < 300, answer
        return answer

    async def bring_in(self, people: list[Person]) -> None:
        key = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
        for at in range(0, len(people), PORTION):
            calls = [_identify(person) for person in people[at : at + PORTION]]
            answer = await self.call("POST", "/v1/batch", {"batch": calls}, key)
            assert {one["status"] for one in answer["results"]} == {"accepted"}

    async def broadcast(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.call("GET", f"/api/broadcasts/{BROADCAST['id']}")
        return found

    async def finished(self) -> dict[str, Any]:
        async with asyncio.timeout(4 * PATIENCE_S):
            while (found := await self.broadcast())["status"] != "finished":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return found


def _identify(person: Person) -> dict[str, Any]:
    traits = {"name": person.name, "reader": True, **({"email": person.address} if person.address else {})}
    context = {"historical": True, "consent": {"categoryPreferences": {"offers": person.consent}}}
    call = {"type": "identify", "messageId": f"i-{person.name}", "userId": person.name}
    return {**call, "traits": traits, "context": context}


def write_project(folder: Path, smtp: int) -> Path:
    for name, text in {"heliograph.toml": TOML.format(key=KEY, token=TOKEN, smtp=smtp), **FILES}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


async def a_moment(chance: random.Random, receiver: Receiver) -> None:
    """One in four soon after the start, perhaps before any mail leaves, the others while mail flows."""
    if chance.random() > 0.25:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S / 4):
                while not receiver.open:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
    await asyncio.sleep(chance.uniform(0.0, 0.7))


@pytest.mark.slow
async def test_kill_9_in_a_broadcast_repeats_nobody_and_leaves_nobody_out(tmp_path: Path) -> None:
    seed = int(os.environ.get("HELIOGRAPH_TEST_SEED", "0")) or random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    chance, people, receiver = random.Random(seed), audience(), Receiver()
    chance.shuffle(people)
    async with await receiver.listen():
        drill = Drill(Tree(write_project(tmp_path / "project", receiver.port), tmp_path / "data", free_port()))
        await drill.tree.start()
        await drill.bring_in(people)
        await drill.call("POST", "/api/broadcasts", BROADCAST)
        moments = []
        for _ in range(KILLS):
            await a_moment(chance, receiver)
            moments.append((await drill.broadcast())["status"] == "running")
            mailing = receiver.open > 0
            await drill.tree.kill()
            moments[-1] = moments[-1] and mailing
            await drill.tree.start()
            again = await drill.call("POST", "/api/broadcasts", BROADCAST)
            assert again["broadcast_id"] == BROADCAST["id"], "the same call again changes nothing"
        receiver.hold_s = 0.0
        state = await drill.finished()
        rows = await drill.tree.messages()
        assert await drill.tree.stop() == 0
    print(f"{sum(moments)} of {KILLS} kills hit an open DATA; {state['progress']}")  # noqa: T201
    assert sum(moments) >= KILLS // 3, f"seed {seed}: the broadcast was over too soon"
    check(people, rows, state["progress"], receiver.got, f"seed {seed}")


def check(
    people: list[Person], rows: list[dict[str, Any]], progress: dict[str, Any], got: Counter[str], seed: str
) -> None:
    statuses = Counter(row["status"] for row in rows)
    of = {row["profile_id"]: row for row in rows}
    assert len(of) == len(rows), f"{seed}: somebody has two messages"
    assert statuses["unknown"] <= 2 * CONNECTIONS * KILLS, f"{seed}: {statuses}"
    twice = {address: count for address, count in got.items() if count > 1}
    assert not twice, f"{seed}: received more than once: {twice}"
    for row in rows:
        expected = {"sent": (1,), "unknown": (0, 1)}.get(row["status"], (0,))
        assert row["status"] == "skipped" or got[row["address"]] in expected, (
            f"{seed}: {row}, received {got[row['address']]}"
        )
    mailed = {row["address"] for row in rows if row["status"] in ("sent", "unknown")}
    wanted = {person.address for person in people if person.address and person.consent}
    assert mailed == wanted, f"{seed}: left out {wanted - mailed}, or mailed for no reason {mailed - wanted}"
    asked = progress["people"]
    assert asked["total"] == asked["offered"] == len(people), f"{seed}: {progress}"
    assert asked["entered"] == len(people) - HOMELESS and asked["refused"] == {"no_address": HOMELESS}, (
        f"{seed}: {progress}"
    )
    told = {status: count for status, count in progress["messages"].items() if count}
    assert told == dict(statuses), f"{seed}: {told}, ledger {statuses}"
    assert set(got) <= wanted and len(got) <= sum(statuses[one] for one in ("sent", "unknown"))
    assert progress["skipped"] == {"same_address": SHARED, "no_consent: offers": WITHDRAWN}, f"{seed}: {progress}"

"""A broadcast where the API, the one who walks the audience and those who mail are different processes."""

import asyncio
from pathlib import Path
from typing import Any

from heliograph.bootstrap import scaled
from tests.integration.test_kill9 import Receiver
from tests.integration.test_scaled import Machines, call, machines, order, ready
from tests.runtime.harness import until

PEOPLE = 12


FILES = {
    "segments/buyers.yaml": "name: buyers\nif: {did: {event: Order Completed}}\n",
    "templates/letter/message.yaml": 'subject: "Dear customer"\nsender: default\nclass: transactional\n',
    "templates/letter/body.html": "<p>News</p>\n",
}


def write(project: Path) -> None:
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


async def test_everybody_gets_it_once_and_all_of_them_are_counted(tmp_path: Path) -> None:
    async with machines(tmp_path) as (world, receiver):
        write(world.project)
        await everybody(world, receiver)


async def everybody(world: Machines, receiver: Receiver) -> None:
    async with (
        world.process(scaled.COLLECT) as collector,
        world.process(scaled.DELIVER) as one,
        world.process(scaled.DELIVER) as two,
    ):
        await ready(collector)
        names = [f"p{n}" for n in range(PEOPLE)]
        for name in names:
            status, _, _ = await call(collector, "/v1/batch", order(name))
            assert status == 200
        await until(lambda: all(receiver.got[f"{name}@x.test"] == 1 for name in names))
        document = {
            "id": "news",
            "name": "News",
            "template": "letter",
            "notice": True,
            "audience": {"segment": "buyers"},
        }
        status, _, made = await call(two, "/api/broadcasts", document)
        assert status < 300, made
        found: Any = None
        async with asyncio.timeout(30):
            while found is None or found["status"] != "finished":
                _, _, found = await call(one, "/api/broadcasts/news")
                await asyncio.sleep(0.1)
        progress = found["progress"]
        assert progress["people"]["offered"] == progress["people"]["entered"] == PEOPLE, progress
        assert progress["messages"] == {"sent": PEOPLE}
        assert all(receiver.got[f"{name}@x.test"] == 2 for name in names)

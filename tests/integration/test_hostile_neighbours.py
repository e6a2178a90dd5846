"""One receiver that is slow, silent or refuses never delays another: a whole server, mailing straight to receivers."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.dns_servers import Zone, serving_dns
from tests.integration.test_kill9 import KEY, MESSAGE, TOKEN, Tree, exchange
from tests.ports import free_port
from tests.smtp_servers import STALL, Receiver, Rules, listening

AWAY, HERE = 600, 60
"""People at the receiver that misbehaves, more than a mailer holds at once (``mailer.CREDIT``); people elsewhere."""
TOML = """
[project]
name = "neighbours"
base_url = "http://127.0.0.1:1"
[collect]
write_key = "{key}"
rate_limit = "1000000/s"
[api]
token = "{token}"
[smtp]
url = "mx:"
[direct]
ehlo = "mail.shop.test"
port = {port}
nameservers = ["{nameserver}"]
private_networks = ["127.0.0.0/8"]
mta_sts = false
[sender.default]
from = "Drill <drill@shop.test>"
postal_address = "1 Quay Street, Bristol"
"""
BAD: dict[str, Rules] = {
    "accepts no connection": {"greeting": STALL},
    "never answers a message": {"dot": STALL},
    "says 421 to everybody": {"greeting": b"421 4.3.2 not today\r\n"},
    "greylists": {"rcpt": b"450 4.7.1 later\r\n"},
    "rejects its mail for policy": {"dot": b"550 5.7.1 not from you\r\n"},
}


@contextlib.asynccontextmanager
async def world(folder: Path, rules: Rules) -> AsyncIterator[tuple[Tree, Receiver]]:
    """A server; ``away.test`` is taken by a receiver with these rules, every ``here-N.test`` by a proper one."""
    port, zone, bad, good = free_port(), Zone(), Receiver(rules=rules), Receiver()
    for name, address in {"away.test": "127.0.0.2", **{f"here-{n}.test": "127.0.0.3" for n in range(3)}}.items():
        zone.set(name, "MX", f"10 mx.{name}.")
        zone.set(f"mx.{name}", "A", address)
    async with (
        serving_dns(zone),
        listening(bad, host="127.0.0.2", port=port),
        listening(good, host="127.0.0.3", port=port),
    ):
        toml = TOML.format(key=KEY, token=TOKEN, port=port, nameserver=zone.nameserver)
        tree = Tree(project(folder / "project", toml), folder / "data", free_port())
        await tree.start()
        try:
            yield tree, good
        finally:
            await tree.kill()


def project(folder: Path, toml: str) -> Path:
    files = {
        "heliograph.toml": toml,
        "journeys/order.yaml": "entry: {event: Order Completed, key: properties.order_id}\nsteps:\n  - send: note\n",
        "templates/note/message.yaml": MESSAGE,
        "templates/note/body.html": "<p>Order {{ event.properties.order_id }}</p>\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


async def order(tree: Tree, addresses: list[str]) -> None:
    calls = [
        {
            "type": "track", "messageId": f"m-{address}", "userId": address, "event": "Order Completed",
            "properties": {"order_id": address}, "context": {"traits": {"email": address}},
        }
        for address in addresses
    ]  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", tree.port)
    data = json.dumps({"batch": calls, "writeKey": KEY}).encode()
    status, _ = await exchange(reader, writer, "POST", "/v1/batch", data, "")
    writer.close()
    assert status == 200


async def fates(tree: Tree) -> dict[str, Any]:
    return {row["address"]: row for row in await tree.messages()}


@pytest.mark.parametrize("what", BAD)
async def test_mail_to_others_leaves_while_one_receiver_misbehaves(what: str, tmp_path: Path) -> None:
    """Although all of its mail was there first, and is more than a mailer holds at once."""
    here = [f"p{n}@here-{n % 3}.test" for n in range(HERE)]
    async with world(tmp_path, BAD[what]) as (tree, good):
        await order(tree, [f"p{n}@away.test" for n in range(AWAY)])
        await order(tree, here)
        await good.until(lambda: len(good.accepted) >= HERE, 60)
        rows = await fates(tree)
    got = Counter(address for mail in good.accepted for address in mail.recipients)
    assert got == dict.fromkeys(here, 1)
    assert len(rows) == AWAY + HERE, "nothing is lost"
    others = Counter(rows[f"p{n}@away.test"]["status"] for n in range(AWAY))
    assert set(others) <= {"queued", "sending", "bounced"}, others
    assert (set(others) == {"bounced"}) <= ("rejects" in what), others

"""Straight to the receivers, where a domain has two servers and both are hostile: the other one gets no second copy."""

import asyncio
import ssl
from collections.abc import Mapping

import pytest

from heliograph.adapters.dns import Resolver
from heliograph.adapters.smtp import Direct
from heliograph.deliver.routes import DIRECT, DirectRoute, Reach
from heliograph.ports import Parcel
from tests.certificates import Authority
from tests.dns_servers import Zone, serving_dns
from tests.hostile import Hostile, hostile
from tests.hostile_laws import check, together
from tests.hostile_scripts import PAIRS, Point, Script, matrix
from tests.impatient import QUICK
from tests.integration.test_hostile_pool import ATTEMPTS, SHORT, STRANGERS, Sender

MESSAGES = 6
FIRST, SECOND = "127.0.0.2", "127.0.0.3"
REACHES = {"default": Reach(connection_limit=2)}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return Authority(tmp_path_factory.mktemp("tls")).serving()


def parcels(domain: str) -> list[Parcel]:
    return [Parcel(f"m{n}", "shop@shop.example", f"p{n}@{domain}", SHORT, DIRECT) for n in range(MESSAGES)]


async def suffer(script: Script, pipelining: bool, tls: ssl.SSLContext | None) -> None:
    """Mail to a domain whose two servers, one preferred, play the same script."""
    servers = [Hostile(script, pipelining, tls, STRANGERS, body_at=10) for _ in range(2)]
    zone = Zone()
    zone.set("people.example", "MX", "10 a.people.example.", "20 b.people.example.")
    zone.set("a.people.example", "A", FIRST)
    zone.set("b.people.example", "A", SECOND)
    async with serving_dns(zone), hostile(servers[0], FIRST) as first, hostile(servers[1], SECOND, first.port):
        way = DirectRoute(port=first.port, private_networks=("127.0.0.0/8",), mta_sts=False)
        sender = Sender()
        sender.pool = Direct(way, REACHES, sender, Resolver([zone.nameserver]), None, QUICK)
        await sender.send(parcels("people.example"))
        await sender.pool.close(1)
    check(together(servers), sender.fates)
    waiting = [address for address, fate in sender.fates.items() if fate.kind == "retry"]
    assert not waiting, f"still waiting after {ATTEMPTS} attempts: {waiting}"


async def all_of(scripts: Mapping[str, Script], pipelining: bool, tls: ssl.SSLContext) -> None:
    async def one(name: str, script: Script) -> None:
        try:
            await suffer(script, pipelining, tls if Point.STARTTLS in script else None)
        except (AssertionError, TimeoutError, OSError) as error:
            raise AssertionError(f"{name}: {error!r}") from error

    results = await asyncio.gather(*(one(*item) for item in scripts.items()), return_exceptions=True)
    broken = [str(result) for result in results if result is not None]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("pipelining", [False, True], ids=["lock-step", "pipelining"])
@pytest.mark.parametrize("point", [point for point in Point if point is not Point.QUIT])
async def test_two_hostile_servers_of_one_domain(point: Point, pipelining: bool, tls: ssl.SSLContext) -> None:
    await all_of(matrix([point]), pipelining, tls)


async def test_tricks_that_need_two_points(tls: ssl.SSLContext) -> None:
    await all_of(PAIRS, True, tls)

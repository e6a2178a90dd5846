"""MTA-STS policies: fetched as RFC 8461 says, kept across restarts, never lost to whoever blocks the way to them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from heliograph.adapters.dns import Resolver
from heliograph.adapters.smtp import policies as module
from heliograph.adapters.smtp.fetch import PolicyFetcher
from heliograph.adapters.smtp.policies import Policies
from heliograph.deliver.mta_sts import MAX_BYTES, BadPolicy
from heliograph.ports import Records
from heliograph.ports.mail import NO_DOMAIN, UNSURE
from tests.mail_world import World, http_answer, world

GOOD = b"version: STSv1\nmode: enforce\nmx: mx.shop.example\nmax_age: 86400\n"
DAY = 86_400


@pytest_asyncio.fixture
async def net(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        made.policy("shop.example", "enforce", "mx.shop.example")
        yield made


async def fetched(net: World) -> str:
    policies = net.known_policies()
    try:
        return await policies._fetcher.fetch("shop.example")
    finally:
        await policies.close()


async def test_a_policy_comes_over_https(net: World) -> None:
    assert "mode: enforce" in await fetched(net)


REFUSED = {
    "not found": http_answer(GOOD, "404 Not Found"),
    "a redirect": http_answer(b"", "301 Moved", extra="Location: https://mta-sts.shop.example/policy.txt\r\n"),
    "not text": http_answer(GOOD, kind="text/html"),
    "too long": http_answer(GOOD + b"x: " + b"y" * MAX_BYTES),
    "no HTTP": b"220 hello\r\n\r\n",
    "cut off": http_answer(GOOD)[:-5],
    "silence": b"",
}


@pytest.mark.parametrize("answer", REFUSED)
async def test_anything_but_a_plain_text_from_that_very_url_is_no_policy(net: World, answer: str) -> None:
    net.policies["mta-sts.shop.example"] = REFUSED[answer]
    with pytest.raises(BadPolicy):
        await fetched(net)


async def test_a_policy_host_must_have_its_certificate(net: World) -> None:
    """Our server has none for this name."""
    net.zone.set("mta-sts.other.example", "A", "127.0.0.1")
    policies = net.known_policies()
    with pytest.raises(BadPolicy, match="certificate"):
        await policies._fetcher.fetch("other.example")
    await policies.close()


async def test_a_policy_host_at_a_private_address_is_not_asked(net: World) -> None:
    dns = Resolver([net.zone.nameserver])
    fetcher = PolicyFetcher(dns, net._trust(), (), port=net.https_port)
    with pytest.raises(BadPolicy, match="no address that may be reached"):
        await fetcher.fetch("shop.example")
    await fetcher.close()
    assert not net.fetched


class Texts:
    """DNS that says of TXT what a test wants."""

    def __init__(self, *found: str) -> None:
        self.answer = Records(found)

    async def texts(self, name: str) -> Records:
        assert name == "_mta-sts.shop.example"
        return self.answer


class Source:
    """A policy host."""

    def __init__(self, text: str = GOOD.decode()) -> None:
        self.text: str | None = text
        self.count = 0

    async def fetch(self, domain: str) -> str:
        self.count += 1
        await asyncio.sleep(0)
        if self.text is None:
            raise BadPolicy("gone")
        return self.text

    async def close(self) -> None: ...


class Bench:
    """``now``: Unix time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1_800_000_000.0
        self.dns, self.source = Texts("v=STSv1; id=1"), Source()
        self.restart()

    def restart(self) -> None:
        self.policies = Policies(self.dns, self.source, self.folder, lambda: self.now)  # type: ignore[arg-type]

    async def mode(self) -> str:
        policy = await self.policies.policy("shop.example")
        return policy.mode if policy else ""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "mta-sts")


async def test_a_policy_is_fetched_once_for_an_id(bench: Bench) -> None:
    assert {await bench.mode() for _ in range(5)} == {"enforce"}
    assert bench.source.count == 1
    bench.dns.answer = Records(("v=STSv1; id=2",))
    bench.source.text = GOOD.decode().replace("enforce", "testing")
    assert await bench.mode() == "testing"
    assert bench.source.count == 2


async def test_many_messages_wait_for_one_fetch(bench: Bench) -> None:
    assert set(await asyncio.gather(*(bench.mode() for _ in range(20)))) == {"enforce"}
    assert bench.source.count == 1


@pytest.mark.parametrize("answer", [Records(fault=NO_DOMAIN), Records(fault=UNSURE), Records(("v=STSv1; id=2",))])
async def test_a_known_policy_holds_while_record_and_host_are_gone(bench: Bench, answer: Records) -> None:
    """Whoever can block DNS or HTTPS must not be able to switch the policy off (RFC 8461, 10.2)."""
    assert await bench.mode() == "enforce"
    bench.dns.answer, bench.source.text = answer, None
    assert await bench.mode() == "enforce"
    bench.restart()
    assert await bench.mode() == "enforce", "not by a restart either"
    bench.now += DAY + 1
    assert await bench.mode() == "", "until it expires"


async def test_what_was_never_known_is_no_policy_and_is_asked_for_again_after_a_while(bench: Bench) -> None:
    bench.source.text = None
    assert [await bench.mode(), await bench.mode()] == ["", ""]
    assert bench.source.count == 1
    bench.now += module.AGAIN_S
    bench.source.text = GOOD.decode()
    assert await bench.mode() == "enforce"


async def test_a_policy_in_use_is_refreshed_before_it_expires(bench: Bench) -> None:
    bench.source.text = GOOD.decode().replace("86400", str(30 * DAY))
    assert await bench.mode() == "enforce"
    bench.now += module.REFRESH_S + 1
    assert await bench.mode() == "enforce"
    await asyncio.gather(*bench.policies._fetching.values())
    assert bench.source.count == 2
    bench.now += 29.5 * DAY
    bench.source.text = None
    assert await bench.mode() == "enforce", "it holds from its last fetch on"


async def test_a_file_that_is_not_ours_is_no_policy(bench: Bench) -> None:
    assert await bench.mode() == "enforce"
    (file,) = bench.folder.iterdir()
    for content in (b"", b"{}", file.read_bytes().replace(b"shop.example", b"othr.example", 1)):
        file.write_bytes(content)
        bench.restart()
        bench.source.text = None
        assert await bench.mode() == ""


async def test_neither_memory_nor_folder_grow_without_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 5)
    for n in range(20):
        bench.policies._keep(f"d{n}.example", None)
        (bench.folder / f"{n}.json").write_bytes(b"{}")
    bench.restart()
    assert len(list(bench.folder.iterdir())) == 5
    assert len(bench.policies._known) <= 5

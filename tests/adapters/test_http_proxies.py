"""Who calls when proxies stand in front: told by those that are trusted, and by nobody else."""

import asyncio
import urllib.request
from typing import Any

import pytest

from heliograph.adapters.http import Door
from heliograph.adapters.http.proxies import Proxies
from heliograph.render.links import Claims, sign
from tests.adapters.http_harness import KEY, LINK_KEYS, serving
from tests.fakes import FakeEngine

TRUSTED = Proxies(["10.0.0.0/8", "fd00::/8"])


def seen(*headers: tuple[str, str], peer: str = "10.0.0.1", scheme: str = "http") -> tuple[str, str]:
    lines = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope = TRUSTED.seen({"client": (peer, 4711), "scheme": scheme, "headers": lines})
    return scope["client"][0], scope["scheme"]


def xff(value: str) -> tuple[str, str]:
    return "X-Forwarded-For", value


def proto(value: str) -> tuple[str, str]:
    return "X-Forwarded-Proto", value


def forwarded(value: str) -> tuple[str, str]:
    return "Forwarded", value


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ([], ("10.0.0.1", "http")),
        ([xff("203.0.113.9"), proto("https")], ("203.0.113.9", "https")),
        ([xff("198.51.100.1, 203.0.113.9")], ("203.0.113.9", "http")),  # the left one is the caller's own claim
        ([xff("198.51.100.1"), xff("203.0.113.9")], ("203.0.113.9", "http")),
        ([xff("6.6.6.6, 203.0.113.9, 10.1.1.1"), proto("https")], ("203.0.113.9", "https")),
        ([xff("203.0.113.9, 10.1.1.1"), proto("https, http")], ("203.0.113.9", "https")),
        ([xff("10.1.1.2, 10.1.1.1")], ("10.1.1.2", "http")),  # inside the house
        ([xff("203.0.113.9, nonsense")], ("10.0.0.1", "http")),
        ([xff("nonsense, 10.1.1.1")], ("10.1.1.1", "http")),
        ([xff("203.0.113.9:4711")], ("203.0.113.9", "http")),
        ([xff("[2001:db8::7]:4711")], ("2001:db8::7", "http")),
        ([xff("2001:db8::7")], ("2001:db8::7", "http")),
        ([xff("203.0.113.9"), proto("gopher")], ("203.0.113.9", "http")),
        ([proto("https")], ("10.0.0.1", "https")),
        ([forwarded('for=203.0.113.9;proto=https;by="10.0.0.1"')], ("203.0.113.9", "https")),
        ([forwarded('for=6.6.6.6, For="[2001:db8::7]:4711";Proto=HTTPS')], ("2001:db8::7", "https")),
        ([forwarded("for=unknown;proto=https")], ("10.0.0.1", "https")),
        ([forwarded("for=_hidden")], ("10.0.0.1", "http")),
        # a proxy that writes one kind and lets the other pass as the caller sent it: neither is believed
        ([xff("203.0.113.9"), forwarded("for=6.6.6.6;proto=https")], ("10.0.0.1", "http")),
        ([xff("203.0.113.9"), forwarded("for=203.0.113.9")], ("203.0.113.9", "http")),
    ],
)
def test_the_first_from_the_right_that_is_not_ours_is_the_caller(
    headers: list[tuple[str, str]], caller: tuple[str, str]
) -> None:
    assert seen(*headers) == caller


@pytest.mark.parametrize("peer", ["203.0.113.50", "11.0.0.1", "fe80::1", "unix:", ""])
def test_a_peer_that_is_not_trusted_is_not_believed(peer: str) -> None:
    assert seen(xff("10.0.0.1"), proto("https"), peer=peer) == (peer, "http")
    assert seen(forwarded("for=10.0.0.1;proto=https"), peer=peer) == (peer, "http")


def test_an_ipv4_address_written_as_ipv6_is_the_same() -> None:
    assert seen(xff("203.0.113.9"), peer="::ffff:10.0.0.1") == ("203.0.113.9", "http")


def test_without_a_client_nothing_is_believed() -> None:
    scope: dict[str, Any] = {"client": None, "scheme": "http", "headers": [(b"x-forwarded-proto", b"https")]}
    assert TRUSTED.seen(scope) is scope


@pytest.mark.parametrize(
    ("proxies", "known"), [(["127.0.0.0/8"], "203.0.113.9"), ([], "127.0.0.1"), (["10.0.0.0/8"], "127.0.0.1")]
)
async def test_the_evidence_of_a_withdrawal_names_the_caller(proxies: list[str], known: str) -> None:
    """Over a real socket: whoever is not trusted cannot put another's address into the ledger."""
    engine = FakeEngine()
    front = Door(
        engine, write_keys=(KEY,), events_per_second=1e9, link_keys=LINK_KEYS, brand="Shop", proxies=proxies
    )  # fmt: skip
    token = sign("u", Claims(message_id="m1", key="u:1", address="ann@example.com", topic="offers"), LINK_KEYS)
    async with serving(front) as server:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/u/{token}",
            b"List-Unsubscribe=One-Click",
            {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"},
        )
        status = await asyncio.to_thread(lambda: urllib.request.urlopen(request).status)
    (word,) = engine.store.ledger("ann@example.com")
    assert (status, word.proof) == (200, f"message m1 from {known}")

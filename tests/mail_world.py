"""A small internet on the loopback range: DNS, an authority, mail servers on one port of 127.0.0.x, policy hosts.

::

    async with world(tmp_path) as net:
        await net.server("mx.shop.example", Receiver())
        net.mx("shop.example", "10 mx.shop.example.")
        mail = net.direct(ledger)
"""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from heliograph.adapters.dns import Resolver
from heliograph.adapters.smtp import Direct, Limits, Trust
from heliograph.adapters.smtp.fetch import PolicyFetcher
from heliograph.adapters.smtp.policies import Policies
from heliograph.deliver.routes import DIRECT, DirectRoute, Reach
from heliograph.ports import Courier, Parcel, Verdict
from tests.certificates import Authority
from tests.dns_servers import Zone, serving_dns
from tests.smtp_servers import Ledger, Receiver, listening

QUICK = Limits(
    connect_s=10,
    greeting_s=10,
    command_s=10,
    data_s=10,
    dot_s=10,
    quit_s=0.2,
    backoff_first_s=0.05,
    backoff_longest_s=0.1,
)
LOOPBACK = "127.0.0.0/8"
BODY = b"Subject: hello\r\n\r\nHello\r\n"


class World:
    """``policies``: host of a policy -> the whole HTTP answer.  ``fetched``: how often each was fetched."""

    def __init__(self, zone: Zone, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        self.zone, self.folder = zone, folder
        self.authority = Authority(folder)
        self.port = 0
        self.https_port = 0
        self.policies: dict[str, bytes] = {}
        self.fetched: Counter[str] = Counter()
        self._stack = stack
        self._addresses = 1

    def address(self) -> str:
        """Of the loopback range, nobody's yet."""
        self._addresses += 1
        return f"127.0.0.{self._addresses}"

    def mx(self, domain: str, *records: str) -> None:
        self.zone.set(domain, "MX", *records)

    async def server(self, host: str, receiver: Receiver) -> Receiver:
        """This receiver at an address of its own, known to DNS by that name."""
        address = self.address()
        self.zone.set(host, "A", address)
        await self._stack.enter_async_context(listening(receiver, host=address, port=self.port))
        self.port = receiver.port
        return receiver

    def certified(self, host: str) -> ssl.SSLContext:
        return self.authority.serving(host)

    def policy(self, domain: str, mode: str, *mx: str, id: str = "1", max_age: int = 86400) -> None:
        """Publish an MTA-STS policy."""
        lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {one}" for one in mx), f"max_age: {max_age}", ""]
        self.zone.set(f"_mta-sts.{domain}", "TXT", f'"v=STSv1; id={id};"')
        self.zone.set(f"mta-sts.{domain}", "A", "127.0.0.1")
        self.policies[f"mta-sts.{domain}"] = http_answer("\r\n".join(lines).encode())

    def known_policies(self, folder: Path | None = None) -> Policies:
        dns = Resolver([self.zone.nameserver], patience_s=5)
        fetcher = PolicyFetcher(dns, self._trust(), _private(), port=self.https_port, timeout_s=4)
        return Policies(dns, fetcher, folder)

    def direct(
        self,
        courier: Courier,
        reaches: dict[str, Reach] | None = None,
        limits: Limits = QUICK,
        *,
        ehlo: str = "",
        connections: int = 20,
        starttls: str = "optional",
        private: tuple[str, ...] = (LOOPBACK,),
        policies: Policies | None = None,
    ) -> Direct:
        way = DirectRoute(
            ehlo=ehlo, port=self.port, nameservers=(self.zone.nameserver,), connections=connections, starttls=starttls,
            private_networks=private,
        )  # fmt: skip
        dns = Resolver(way.nameservers, patience_s=5)
        return Direct(way, reaches or {}, courier, dns, policies or self.known_policies(), limits, self._trust())

    def _trust(self) -> Trust:
        return Trust(given=self.authority.trusted())

    async def serve_policies(self) -> None:
        """Over HTTPS, each host with its own certificate."""
        contexts: dict[str, ssl.SSLContext] = {}

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name in self.policies:
                connection.context = contexts.setdefault(name, self.certified(name))

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                host = head.partition("\r\nHost: ")[2].partition("\r\n")[0].partition(":")[0]
                self.fetched[host] += 1
                if head.startswith("GET /.well-known/mta-sts.txt ") and self.policies[host]:
                    writer.write(self.policies[host])
                    await writer.drain()
                elif not self.policies[host]:
                    await asyncio.sleep(30)
            writer.close()

        context = self.certified("nobody.example")
        context.sni_callback = choose  # type: ignore[assignment]
        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
        self.https_port = server.sockets[0].getsockname()[1]
        self._stack.callback(server.close)


def http_answer(body: bytes, status: str = "200 OK", kind: str = "text/plain", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def _private() -> tuple[object, ...]:
    from heliograph.adapters.smtp.direct import networks

    return networks([LOOPBACK])


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        net = World(await stack.enter_async_context(serving_dns(Zone())), folder, stack)
        await net.serve_policies()
        yield net


# -- one message and its verdict --


def parcel(number: int, domain: str = "shop.example", receiver: str = "") -> Parcel:
    return Parcel(f"m{number}", "hello@sender.example", f"p{number}@{domain}", BODY, DIRECT, receiver)


async def send(mail: Direct, ledger: Ledger, *parcels: Parcel) -> list[Verdict]:
    """Their verdicts, in that order; the transport is closed then."""
    ledger.transport = mail
    try:
        for one in parcels:
            mail.post(one)
        await ledger.settled(len(parcels))
        return [ledger.verdicts[one.message_id] for one in parcels]
    finally:
        await mail.close(1)


async def one(net: World, domain: str = "shop.example", **settings: object) -> Verdict:
    ledger = Ledger()
    return (await send(net.direct(ledger, **settings), ledger, parcel(0, domain)))[0]  # type: ignore[arg-type]

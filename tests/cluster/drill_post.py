"""What a drill drives: a receiver that takes note of every mail, and people who order, wait, leave and unsubscribe."""

import asyncio
import base64
import contextlib
import json
import random
import re
import threading
import time
from collections import defaultdict
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.integration.test_kill9 import KEY

HOLD_S = 0.03
"""Between the final dot and the reply: what is killed in between is `unknown`."""
CLIENTS = 16
ORDERS = (("order", 55), ("timer", 15), ("basket", 20), ("stranger", 10))
"""What a customer comes for, and how many of a hundred."""
SECOND_THOUGHT_S = (4.0, 10.0)
"""When somebody with a basket orders after all, or a stranger signs up."""


class Mail(NamedTuple):
    message_id: str
    address: str
    at: float
    unsubscribe: str
    data: bytes


class Post:
    """An SMTP server: every mail it took, in order.  Times are :func:`time.time`."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.first: dict[str, float] = {}
        """When an address had its first mail."""
        self.full: set[str] = set()
        """Addresses that take nothing now, and say so (452)."""
        self.port = 0

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._session, "127.0.0.1", 0, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"220 receiver\r\n")
            address = ""
            while line := await reader.readline():
                verb, reply = line[:4].upper(), b"250 2.0.0 ok\r\n"
                if verb == b"EHLO":
                    reply = b"250-receiver\r\n250 PIPELINING\r\n"
                elif verb == b"RCPT":
                    address = line.split(b"<")[1].split(b">")[0].decode()
                    if address in self.full:
                        address, reply = "", b"452 4.2.2 mailbox full\r\n"
                elif verb == b"DATA" and not address:
                    reply = b"503 5.5.1 nobody to take it\r\n"
                elif verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    self._take(address, await reader.readuntil(b"\r\n.\r\n"))
                    await asyncio.sleep(HOLD_S)
                    address = ""
                writer.write(reply)
                if verb == b"QUIT":
                    break
        writer.close()

    def _take(self, address: str, data: bytes) -> None:
        head = data.partition(b"\r\n\r\n")[0].decode()
        name = re.search(r"(?im)^message-id: *<([^@>]+)@", head)
        link = re.search(r"(?im)^list-unsubscribe: *<([^>]+)>", head)
        assert name is not None, head
        mail = Mail(name[1], address, time.time(), link[1] if link else "", data)
        self.mails.append(mail)
        self.first.setdefault(address, mail.at)


class Load:
    """``rate`` customers a second, each for one thing.  ``acknowledged``: event ids that were answered with their 200;
    ``withdrawn``: address -> when the unsubscribe was answered (ms).  A call that fails is made again until it works,
    as SDKs do."""

    def __init__(self, post: Post, port: int, rate: float, chance: random.Random) -> None:
        self._post, self._port, self._rate, self._chance = post, port, rate, chance
        self.running = True
        self.acknowledged: dict[str, float] = {}
        self.customers: dict[str, set[str]] = defaultdict(set)
        """By what they came for: those whose first call was acknowledged."""
        self.withdrawn: dict[str, int] = {}
        self.calls = self.again = 0
        self._later: set[asyncio.Task[None]] = set()
        self._lines: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None] = asyncio.LifoQueue()
        for _ in range(CLIENTS):
            self._lines.put_nowait(None)

    async def run(self) -> None:
        began, come = time.monotonic(), 0
        while self.running:
            for _ in range(int((time.monotonic() - began) * self._rate) - come):
                come += 1
                self._soon(self._customer(come))
            await asyncio.sleep(0.02)
        while self._later:
            await asyncio.gather(*self._later)

    def _soon(self, what: Any) -> None:
        task = asyncio.create_task(what)
        self._later.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._later.discard(task)
        task.result()

    async def _customer(self, number: int) -> None:
        (kind,) = self._chance.choices([kind for kind, _ in ORDERS], [share for _, share in ORDERS])
        name = f"{kind}{number}"
        await getattr(self, f"_{kind}")(name)

    async def _order(self, name: str) -> None:
        await self._event(f"o-{name}", "Order Completed", name)
        self.customers["order"].add(name)

    async def _timer(self, name: str) -> None:
        await self._event(f"t-{name}", "Timer Set", name)
        self.customers["timer"].add(name)

    async def _basket(self, name: str) -> None:
        """A third orders after all, a third unsubscribes at the first mail, a third gets the second one."""
        await self._event(f"b-{name}", "Product Added", name)
        self.customers["basket"].add(name)
        thought = self._chance.randrange(3)
        if thought == 0:
            await asyncio.sleep(self._chance.uniform(*SECOND_THOUGHT_S))
            await self._order(name)
        elif thought == 1:
            await self._unsubscribe(f"{name}@x.test")

    async def _stranger(self, name: str) -> None:
        """Comes without a name, and gives it later: two keys become one."""
        await self._call(f"s-{name}", {"type": "track", "event": "Product Added", "anonymousId": f"dev-{name}"})
        await asyncio.sleep(self._chance.uniform(*SECOND_THOUGHT_S))
        who = {"anonymousId": f"dev-{name}", "userId": name, "traits": {"email": f"{name}@x.test"}}
        await self._call(f"i-{name}", {"type": "identify", **who})
        await self._order(name)

    async def _unsubscribe(self, address: str) -> None:
        while address not in self._post.first:
            if not self.running:
                return  # it is unknown what became of it
            await asyncio.sleep(0.1)
        link = next(mail.unsubscribe for mail in self._post.mails if mail.address == address)
        await self._until_200(urlsplit(link).path, "application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click")
        self.withdrawn[address] = time.time_ns() // 1_000_000

    async def _event(self, event_id: str, event: str, name: str) -> None:
        traits = {"context": {"traits": {"email": f"{name}@x.test"}}}
        await self._call(event_id, {"type": "track", "event": event, "userId": name,
                                    "properties": {"order_id": event_id}, **traits})  # fmt: skip

    async def _call(self, event_id: str, body: dict[str, Any]) -> None:
        call = json.dumps({"messageId": event_id, **body}).encode()
        answer = json.loads(await self._until_200(f"/v1/{body['type']}", "application/json", call))
        assert answer["results"][0]["status"] in ("accepted", "duplicate"), answer
        self.acknowledged[event_id] = time.time()

    async def _until_200(self, path: str, kind: str, body: bytes) -> bytes:
        self.calls += 1
        while True:
            line = await self._lines.get()
            status, answer = 0, b""
            try:
                line = line or await asyncio.open_connection("127.0.0.1", self._port)
                async with asyncio.timeout(15):
                    status, answer = await ask(*line, path, kind, body)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                if line is not None:
                    line[1].close()
                line = None
            finally:
                self._lines.put_nowait(line)
            if status == 200:
                return answer
            assert status in (0, 429, 503), (path, status, answer)
            self.again += 1
            await asyncio.sleep(0.2)


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, kind: str, body: bytes
) -> tuple[int, bytes]:
    """One POST on a connection that stays open."""
    key = base64.b64encode(f"{KEY}:".encode()).decode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {key}\r\ncontent-type: {kind}\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = re.search(r"\r\ncontent-length: (\d+)", answer)
    return int(answer.split()[1]), await reader.readexactly(int(length[1]) if length is not None else 0)


class Street:
    """Receiver and customers, on an event loop in a thread of its own."""

    def __init__(self) -> None:
        self.post = Post()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(self.post.listen())

    def _do(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(60)

    def open(self, port: int, rate: float, chance: random.Random) -> "tuple[Load, Any]":
        """Customers come; the future is done when ``load.running`` is False and all of them had their answers."""

        async def load() -> Load:
            return Load(self.post, port, rate, chance)

        made: Load = self._do(load())
        return made, asyncio.run_coroutine_threadsafe(made.run(), self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

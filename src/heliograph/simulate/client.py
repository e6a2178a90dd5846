"""A small HTTP/1.1 client for load: keep-alive connections, one request in flight on each, no parsing beyond need.

Latency is counted from the instant a call was *due*, so a server that stalls is charged for the calls that queued up
behind it (no coordinated omission).
"""

import asyncio
import base64
from collections import deque
from urllib.parse import urlsplit

MAX_WAITING = 100_000
"""Calls due but not yet sent, at most; beyond it they are counted as dropped: the server is far behind."""


class Job:
    """One request: when it was due (loop time), how many events it carries, its path (``/v1/…``) and its bytes."""

    __slots__ = ("body", "due", "events", "path")

    def __init__(self, due: float, events: int, path: bytes, body: bytes) -> None:
        self.due = due
        self.events = events
        self.path = path
        self.body = body


class Pool:
    """Sends jobs over ``connections`` connections; ``done(job, status, body, latency_s)`` is called for each."""

    def __init__(self, url: str, write_key: str, connections: int) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url!r}: the simulator speaks plain http://host:port")
        self.host, self.port = parts.hostname, parts.port or 80
        token = base64.b64encode(f"{write_key}:".encode()).decode()
        self._head = (
            f" HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Basic {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._size = connections
        self._idle: deque[Connection] = deque()
        self._waiting: deque[Job] = deque()
        self._open: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.statuses: dict[int, int] = {}
        self.latencies: list[float] = []
        self.events_ok = 0
        self.bodies: deque[bytes] = deque(maxlen=1000)
        self.dropped = 0
        self.broken = 0
        self.under_way = 0
        self._closing = False
        self._reopening: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._size):
            _, connection = await loop.create_connection(lambda: Connection(self), self.host, self.port)
            self._idle.append(connection)
            self._open.add(connection)

    def submit(self, job: Job) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += job.events
            return
        self.under_way += 1
        self._empty.clear()
        if self._idle:
            self._idle.popleft().send(self._head, job)
        else:
            self._waiting.append(job)

    def finished(self, connection: "Connection", job: Job, status: int, body: bytes, latency: float) -> None:
        self._count(job, status, body, latency)
        if self._waiting and not connection.lost:
            connection.send(self._head, self._waiting.popleft())
        elif not connection.lost:
            self._idle.append(connection)

    def _count(self, job: Job, status: int, body: bytes, latency: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            self.latencies.append(latency)
            self.events_ok += job.events
            self.bodies.append(body)
        self.under_way -= 1
        if not self.under_way:
            self._empty.set()

    def lost(self, connection: "Connection", job: Job | None) -> None:
        """The server closed a connection: the call on it has no answer, and a new connection takes its place."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if job is not None:
            self.broken += job.events
            self._count(job, 0, b"", 0.0)
        if not self._closing:
            task = asyncio.ensure_future(self._replace())
            self._reopening.add(task)
            task.add_done_callback(self._reopening.discard)

    async def _replace(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closing:
            try:
                _, connection = await loop.create_connection(lambda: Connection(self), self.host, self.port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            self._open.add(connection)
            if self._waiting:
                connection.send(self._head, self._waiting.popleft())
            else:
                self._idle.append(connection)
            return

    async def drain(self, timeout_s: float) -> bool:
        """Wait for the answers that are out; False when some never came."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._closing = True
        for connection in list(self._open):
            connection.close()


class Connection(asyncio.Protocol):
    """One connection: writes a request, reads a response with a Content-Length, reports, is free again."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._job: Job | None = None
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not registered

    def send(self, head: bytes, job: Job) -> None:
        self._job = job
        assert self._transport is not None
        self._transport.write(b"POST %s%s%d\r\n\r\n%s" % (job.path, head, len(job.body), job.body))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._job is None:
            return
        head = bytes(self._buffer[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        job, self._job = self._job, None
        latency = asyncio.get_running_loop().time() - job.due
        self._pool.finished(self, job, int(head[9:12]), body, latency)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        job, self._job = self._job, None
        self._pool.lost(self, job)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

"""Granian inside the owner's event loop: one process, one port (docs/decisions/0005-http-edge.md).

The socket is bound here, before anything starts: a port in use is an error at once (Granian itself would share it
silently through SO_REUSEPORT), and port 0 can be asked what it became.
"""

import asyncio
import contextlib
import errno
import socket
from typing import Any

from granian._granian import SocketHolder  # no public way to hand over a bound socket in 2.8; pinned by a test
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from heliograph.adapters.http.reply import App

BACKLOG = 1024
"""Connections that wait for accept, and the most that are served at a time."""


class CannotListen(Exception):
    """The address cannot be bound; the text says which and what to do."""


class _Granian(Server):
    def __init__(self, app: App, held: SocketHolder) -> None:
        super().__init__(
            app, interface=Interfaces.ASGI, http=HTTPModes.http1, websockets=False, backlog=BACKLOG, log_enabled=False
        )
        self._held = held

    def _init_shared_socket(self) -> None:
        self._shd: Any = self._held
        self._sfd = self._held.get_fd()


class HttpServer:
    """An ASGI application on a port.  ``start`` binds and serves; ``stop`` finishes what is open, then returns."""

    def __init__(self, app: App, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app = app
        self.host = host
        self.port = port
        self._server: _Granian | None = None
        self._serving: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        """Listen; :class:`CannotListen` when the address is taken or not ours."""
        listener = bind(self.host, self.port)
        self.port = listener.getsockname()[1]
        self._server = _Granian(self._app, _holder(listener))
        self._serving = asyncio.create_task(self._server.serve(), name="http")

    async def stop(self, within_s: float = 10.0) -> None:
        """Accept nothing more, wait for requests in flight at most ``within_s``."""
        if self._server is None or self._serving is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._serving
        self._server = None


def _holder(listener: socket.socket) -> SocketHolder:
    """(fd, is it a Unix socket, backlog): what Granian pickles for its workers."""
    return SocketHolder(listener.detach(), False, BACKLOG)  # type: ignore[call-arg]


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, not shared with any other process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise CannotListen(_sentence(host, port, error)) from error
    return listener


def _sentence(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop the other program or choose another port with --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; choose one above 1023 with --port"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"

"""Start everything, say where it is, keep going until Ctrl-C."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from heliograph import bootstrap, config
from heliograph.demo import inbox, inbox_pages, shop, smoke
from heliograph.simulate import Options, simulate

HOST = "127.0.0.1"
SCALE_VARIABLE = "HELIOGRAPH_PROJECT_TIME_SCALE"
TIME_SCALE, SMOKE_SCALE = "360", "43200"
"""An hour in ten seconds; for the smoke test a day in two."""
RATE = 20.0
"""Events a second of the simulated visitors."""
LAPSES_S = (8.0, 40.0, 90.0, 180.0, 300.0)
IDLE_VISITORS = 5
CART_WAIT_S = 1800
"""The first wait of examples/shop/journeys/cart-recovery.yaml."""
RETURN_EVERY_S = 30.0

CURL = """curl -u {key}: {url}/v1/batch -H 'content-type: application/json' -d '{{"batch": [
  {{"type": "identify", "userId": "you", "traits": {{"email": "you@visitors.example", "firstName": "You"}},
   "context": {{"consent": {{"categoryPreferences": {{"offers": true}}}}}}}},
  {{"type": "track", "userId": "you", "event": "Product Added", "properties": {{"cart_id": "cart-1",
   "product_id": "23084", "name": "Rabbit Night Light", "price": 2.08, "quantity": 1, "currency": "GBP"}}}}]}}'"""


def command() -> str:
    """What to type for ``heliograph``: its whole path where the shell does not find it, as after ``make demo``."""
    beside = Path(sys.executable).with_name("heliograph")
    return str(beside) if not shutil.which("heliograph") and beside.exists() else "heliograph"


class CannotStart(Exception):
    """Something on this machine stands in the way; the text says what and what to do."""


def run_demo(*, traffic: bool, smoke: bool, port: int, smtp_port: int, data: Path | None) -> int:
    """The exit code: 0 after Ctrl-C or a smoke test that holds, 1 when it could not start or did not hold."""
    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    bootstrap.configure_logs("error")  # the screen is for people
    try:
        with kept(data) as folder, uvloop_runner() as runner:
            return runner.run(Demo(screen, port, smtp_port, folder, keep_mail=data is not None).run(traffic, smoke))
    except CannotStart as error:
        screen.print(f"[red]heliograph demo:[/] {error}")
        return 1
    except KeyboardInterrupt:
        return 0


def uvloop_runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


@contextlib.contextmanager
def kept(data: Path | None) -> Iterator[Path]:
    """The data folder: the user's, or one that goes with the demo."""
    if data is None:
        with tempfile.TemporaryDirectory(prefix="heliograph-demo-") as folder:
            yield Path(folder)
        return
    try:
        data.mkdir(parents=True, exist_ok=True)
        probe = data / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotStart(f"cannot write to {data} ({error.strerror}); choose another folder with --data") from error
    yield data


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def require_free(port: int, option: str) -> None:
    if port and taken(port):
        raise CannotStart(f"port {port} is in use; choose another one with {option}, e.g. {option} {port + 10}")


class Demo:
    """One run of the demo."""

    def __init__(self, screen: Console, port: int, smtp_port: int, folder: Path, *, keep_mail: bool) -> None:
        self._screen = screen
        self._port, self._smtp_port, self._folder = port, smtp_port, folder
        self._inbox = inbox.Inbox(folder / "inbox" if keep_mail else None)
        self._project = shop.shop_folder()

    async def run(self, traffic: bool, smoke_test: bool) -> int:
        require_free(self._port, "--port")
        require_free(self._smtp_port, "--smtp-port")
        stop = stop_signal()
        smtp = await inbox.listen(self._inbox, HOST, self._smtp_port)
        settings = self._settings(smtp.sockets[0].getsockname()[1], SMOKE_SCALE if smoke_test else TIME_SCALE)
        async with smtp, self._server(settings) as server:
            visitor = smoke.Visitor(server.url, settings.collect.write_key, settings.api.token)
            await self._before_today(visitor, settings.project.time_scale)
            if smoke_test:
                return await self._smoke(visitor)
            self._welcome(server.url, settings)
            await until_first(stop.wait(), self._visitors(visitor) if traffic else stop.wait(), server.engine.failed)
            self._screen.print("stopping")
        return 0

    def _settings(self, smtp_port: int, scale: str) -> config.Settings:
        """The shop's settings, on our ports and with time made short: as anybody could set them from outside."""
        os.environ.setdefault(SCALE_VARIABLE, scale)
        os.environ["HELIOGRAPH_SMTP_URL"] = f"smtp://{HOST}:{smtp_port}"
        return config.load(self._project, host=HOST, port=self._port)

    def _server(self, settings: config.Settings) -> "contextlib.AbstractAsyncContextManager[bootstrap.Server]":
        return bootstrap.running(
            settings,
            data=self._folder / "store",
            document=lambda: bootstrap.document_of(self._project),
            extra=lambda engine: [inbox_pages.router(self._inbox, engine.store), shop.site_router(self._project)],
            open_pages=True,
            follow_port=True,
        )

    async def _before_today(self, visitor: smoke.Visitor, scale: float) -> None:
        """Import the customers of before; a second start on the same data finds them there."""
        now = datetime.now(UTC)
        calls = shop.past_customers(now, scale, LAPSES_S) + shop.idle_visitors(now, scale, IDLE_VISITORS)
        with contextlib.suppress(smoke.Failure):
            await asyncio.to_thread(visitor.send, calls)

    async def _smoke(self, visitor: smoke.Visitor) -> int:
        say = lambda text: self._screen.print(f"  {text}")  # noqa: E731
        try:
            await asyncio.to_thread(smoke.check, visitor, say)
        except smoke.Failure as failure:
            self._screen.print(f"[red]smoke test:[/] {failure}")
            return 1
        self._screen.print("smoke test: every journey sent its mail, and the purchase stopped its reminder")
        return 0

    def _welcome(self, url: str, settings: config.Settings) -> None:
        show = self._screen.print
        faster = f"time goes {settings.project.time_scale:g} times faster ({SCALE_VARIABLE})"
        show(f"\n  [bold]Heliograph[/] is running; {faster}\n")
        show(f"  inbox     {url}/inbox")
        show(f"  overview  {url}/")
        show(f"  shop      {url}/shop/\n")
        seconds = CART_WAIT_S / settings.project.time_scale
        show(f"  An abandoned cart of your own (the reminder comes after {seconds:.3g} seconds):\n", style="dim")
        show(CURL.format(key=settings.collect.write_key, url=url) + "\n", markup=False, soft_wrap=True)
        show("  A broadcast to everybody who said yes to offers:\n", style="dim")
        show(
            f"{command()} broadcast black-friday --everyone --topic offers --url {url}\n", markup=False, soft_wrap=True
        )
        show("  Ctrl-C stops it.\n", style="dim")

    async def _visitors(self, visitor: smoke.Visitor) -> None:
        """Simulated visitors for as long as the demo runs; now and then somebody returns after thirty days."""
        options = Options(visitor.url, visitor.write_key, profiles=400, rate=RATE, duration_s=7 * 86_400, connections=4)
        shopping = asyncio.ensure_future(simulate(options))
        try:
            for number in range(1, IDLE_VISITORS + 1):
                await asyncio.sleep(RETURN_EVERY_S if number > 1 else 3.0)
                await asyncio.to_thread(visitor.send, [shop.return_visit(number)])
            await shopping
        finally:
            shopping.cancel()


def stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def until_first(*happenings: Awaitable[Any]) -> None:
    """Wait for one of them, give up the others; its exception is ours."""
    tasks = [asyncio.ensure_future(happening) for happening in happenings]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    for task in done:
        task.result()

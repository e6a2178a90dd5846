"""One slow receiver among four: do the other three wait?  Two runs, straight to the receivers, with one difference.

In the second run one receiver answers each command 250 ms late and refuses one message in twenty for now.  Counted is
the way of the mail to the other three, from the instant its event was due to the instant of their 250; open loop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.dns_servers import Zone, serving_dns

from bench import traffic
from bench.figures import Report
from bench.latency import percentile
from bench.processes import free_port
from bench.server import TOKEN, WRITE_KEY, Server, serving
from bench.sink import Receiver, receiver
from heliograph.simulate.client import Job, Pool

RECEIVERS, SLOW = 4, 0
DELAY_S, REFUSED = 0.25, 20
RATE, SECONDS, SETTLE_S = 80.0, 20.0, 1.0

TOML = """
[project]
name = "neighbours"
base_url = "http://127.0.0.1:1"
[collect]
write_key = "{key}"
[api]
token = "{token}"
[smtp]
url = "mx:"
[direct]
ehlo = "mail.shop.example"
port = {port}
nameservers = ["{nameserver}"]
private_networks = ["127.0.0.0/8"]
mta_sts = false
[sender.default]
from = "Shop <hello@shop.example>"
postal_address = "1 Quay Street, Bristol"
"""
FILES = {
    "journeys/ping.yaml": "name: ping\nentry: {event: Ping, key: properties.n}\nsteps:\n  - send: ping\n",
    "templates/ping/message.yaml": 'subject: "{{ event.properties.n }}"\nsender: default\nclass: transactional\n',
    "templates/ping/body.html": "<p>Ping {{ event.properties.n }}</p>\n",
}


def run(report: Report, folder: Path, quick: bool) -> None:
    seconds = 1.0 if quick else SECONDS
    alone, beside = (trial(folder / name, seconds, slow) for name, slow in (("alone", False), ("beside", True)))
    for share in (0.5, 0.99):
        before, after = percentile(alone, share), percentile(beside, share)
        report.add(
            "neighbours", f"event to 250 at three receivers beside a slow one, p{share * 100:g}", after, "ms",
            beside=f"without it {before:.1f} ms",
            note=f"{len(beside)} mails, {RATE:g} a second to {RECEIVERS} receivers; the slow one {DELAY_S * 1e3:g} ms "
            f"a reply, one in {REFUSED} refused for now",
        )  # fmt: skip


def trial(folder: Path, seconds: float, slow: bool) -> list[float]:
    """Sorted milliseconds of the mail to the good receivers; what is missing at the end is an error."""
    folder.mkdir()
    port = free_port()
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(sink(folder, n, port, slow)) for n in range(RECEIVERS)]
        zone = stack.enter_context(names())
        server = stack.enter_context(serving(folder, "mx:", project(folder, port, zone.nameserver)))
        asyncio.run(pings(server, seconds / 4, first=10**6))  # connections, caches
        due = asyncio.run(pings(server, seconds))
        for one in sinks:
            one.stop()
    arrived = {int(words): at for n, one in enumerate(sinks) if n != SLOW for words, at in one.mails}
    wanted = {n: at for n, at in due.items() if n % RECEIVERS != SLOW}
    if missing := wanted.keys() - arrived.keys():
        raise RuntimeError(f"{len(missing)} of {len(wanted)} mails to good receivers did not arrive")
    return sorted((arrived[n] - at) / 1e6 for n, at in wanted.items())


def sink(folder: Path, n: int, port: int, slow: bool) -> contextlib.AbstractContextManager[Receiver]:
    manner: dict[str, Any] = {"delay_s": DELAY_S, "refused": REFUSED} if slow and n == SLOW else {}
    return receiver(folder, f"sink{n}", host=f"127.0.0.{2 + n}", port=port, **manner)


def project(folder: Path, port: int, nameserver: str) -> Path:
    toml = TOML.format(key=WRITE_KEY, token=TOKEN, port=port, nameserver=nameserver)
    for name, text in {"heliograph.toml": toml, **FILES}.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "project"


@contextlib.contextmanager
def names() -> Iterator[Zone]:
    """A name server in a thread of its own: ``rN.test`` is taken by 127.0.0.(2+N)."""
    zone, ready, loop = Zone(ttl=3600), threading.Event(), asyncio.new_event_loop()
    for n in range(RECEIVERS):
        zone.set(f"r{n}.test", "MX", f"10 mx.r{n}.test.")
        zone.set(f"mx.r{n}.test", "A", f"127.0.0.{2 + n}")
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving_dns(zone):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield zone
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def pings(server: Server, seconds: float, first: int = 0) -> dict[int, int]:
    """One event every so often, whether or not earlier ones were answered; when each was due (CLOCK_MONOTONIC, ns)."""
    pool = Pool(server.url, WRITE_KEY, 32)
    await pool.open()
    loop = asyncio.get_running_loop()
    began, due = loop.time() + 0.05, {}
    for n in range(first, first + round(seconds * RATE)):
        at = began + (n - first) / RATE
        await asyncio.sleep(at - loop.time())
        address = f"p{n}@r{n % RECEIVERS}.test"
        call = {"userId": f"p{n}", "event": "Ping", "properties": {"n": n}, "context": {"traits": {"email": address}}}
        pool.submit(Job(at, 1, b"/v1/track", traffic.encode(call)))
        due[n] = round(at * 1e9)
    await pool.drain(10)
    pool.close()
    if set(pool.statuses) != {200}:
        raise RuntimeError(f"events were refused: {pool.statuses}")
    await asyncio.sleep(SETTLE_S)
    return due

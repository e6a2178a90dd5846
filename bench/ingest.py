"""Durable and decided ingest over HTTP, closed loop with wrk, beside Granian alone.

The limits of the same run: *echo*, a bare ASGI handler in the same embedded Granian that reads the body, decodes the
call and answers the same JSON; *door*, our whole door with an engine that says accepted and keeps nothing; and, for
batches, what msgspec decodes on one core.
"""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import traffic
from bench.edge import echoing
from bench.figures import Report, amount
from bench.processes import cpu_s, family, missing, tool
from bench.pump import pump
from bench.server import Server, serving
from heliograph.events.decode import decode_batch, open_batch

SECONDS = 10
CONNECTIONS = 64
BATCH_CONNECTIONS = 8
SINGLE = """
local n, seed = 0, tostring({}):match("0x(%x+)")
wrk.method = "POST"
wrk.path = "/v1/track"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Basic ZGVtby13cml0ZS1rZXk6"
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, string.format(
    '{"type":"track","messageId":"w-%s-%d","userId":"wrk-%d","event":"Product Viewed","properties":{' ..
    '"product_id":"22423","name":"Regency Cake Stand, Three Tiers","price":12.75,"category":"Kitchen",' ..
    '"currency":"GBP","url":"http://127.0.0.1:8080/shop/?product=22423"}}', seed, n, n % 5000))
end
"""
BATCHES = """
local n, seed = 0, tostring({}):match("0x(%x+)")
wrk.method = "POST"
wrk.path = "/v1/batch"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Basic ZGVtby13cml0ZS1rZXk6"
request = function()
  local items = {}
  for i = 1, 100 do
    n = n + 1
    items[i] = string.format(
      '{"type":"track","messageId":"b-%s-%d","userId":"wrk-%d","event":"Product Viewed","properties":{' ..
      '"product_id":"22423","name":"Regency Cake Stand, Three Tiers","price":12.75,"category":"Kitchen",' ..
      '"currency":"GBP","url":"http://127.0.0.1:8080/shop/?product=22423"}}', seed, n, n * 7919 % 20000)
  end
  return wrk.format(nil, nil, nil, '{"batch":[' .. table.concat(items, ",") .. ']}')
end
"""
DONE = """
done = function(summary, latency)
  io.write(string.format('{"requests":%d,"us":%d,"bad":%d,"lost":%d,"p50":%d,"p99":%d,"p999":%d,"max":%d}\\n',
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
"""


class Hammered(msgspec.Struct, frozen=True):
    """What wrk saw; latencies in us.  ``cpu_s``: CPU time of the processes under test."""

    requests: int
    us: int
    bad: int
    lost: int
    p50: int
    p99: int
    p999: int
    max: int
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        return (self.requests - self.bad) / self.us * 1e6

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / max(self.requests, 1) * 1e6

    @property
    def text(self) -> str:
        trouble = f", {self.bad} refused, {self.lost} broken" if self.bad or self.lost else ""
        return f"p50 {self.p50 / 1000:.1f} ms, p99 {self.p99 / 1000:.1f}, p99.9 {self.p999 / 1000:.1f}{trouble}"


def hammer(folder: Path, url: str, script: str, connections: int, seconds: float, pid: int) -> Hammered:
    """wrk with one thread against the family of ``pid``."""
    lua = folder / "load.lua"
    lua.write_text(script + DONE)
    program = tool("wrk")
    assert program is not None, "ask missing() first"
    command = [program, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(lua), url]
    before = cpu_s(family(pid))
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^\{.*\}$", out, re.MULTILINE)
    if found is None:
        raise RuntimeError(out)
    return msgspec.convert({**json.loads(found[0]), "cpu_s": cpu_s(family(pid)) - before}, Hammered)


def run(report: Report, folder: Path, quick: bool) -> None:
    seconds = 1.0 if quick else SECONDS
    if note := missing("wrk"):
        report.add("ingest", "durable and decided, one event a request", None, "events/s", note=note)
    else:
        limits = {}
        for what in ("echo", "door"):
            with echoing(what) as (url, pid):
                hammer(folder, url, SINGLE, CONNECTIONS, 1, pid)
                limits[what] = hammer(folder, url, SINGLE, CONNECTIONS, seconds, pid)
        with serving(folder, "smtp://127.0.0.1:9") as server:
            _singles(report, server, folder, seconds, limits)
            _batches(report, server, folder, seconds)
    _shop(report, folder, seconds)


def _singles(report: Report, server: Server, folder: Path, seconds: float, limits: dict[str, Hammered]) -> None:
    pid = server.process.pid
    hammer(folder, server.url, SINGLE, CONNECTIONS, 1, pid)
    ours = hammer(folder, server.url, SINGLE, CONNECTIONS, seconds, pid)
    beside = ", ".join(f"{what} {amount(one.rate)}/s at {amount(one.cpu_us)} us" for what, one in limits.items())
    report.add(
        "ingest", "durable and decided, one event a request", ours.rate, "events/s",
        beside=beside + "; RudderStack 1.7k/s",
        cpu_us=ours.cpu_us, processes=len(server.family), note=f"{CONNECTIONS} connections: {ours.text}",
    )  # fmt: skip
    report.add(
        "ingest", "share of the echo", ours.rate / limits["echo"].rate, "ratio", target="0.6",
        note=f"share of the door alone {ours.rate / limits['door'].rate:.2f}",
    )  # fmt: skip


def _batches(report: Report, server: Server, folder: Path, seconds: float) -> None:
    pid = server.process.pid
    hammer(folder, server.url, BATCHES, BATCH_CONNECTIONS, 1, pid)
    ours = hammer(folder, server.url, BATCHES, BATCH_CONNECTIONS, seconds, pid)
    body = traffic.encode({"batch": [_view(n) for n in range(traffic.BATCH)]})
    plain = _rate(lambda: msgspec.json.decode(body))
    typed = _rate(lambda: decode_batch(open_batch(body), 0, str))
    report.add(
        "ingest", "durable and decided, batches of 100, one kind of event", ours.rate * traffic.BATCH, "events/s",
        target="40,000", beside=f"msgspec decodes {amount(plain)}/s a core, our decoder {amount(typed)}/s",
        cpu_us=ours.cpu_us / traffic.BATCH, processes=len(server.family),
        note=f"{BATCH_CONNECTIONS} connections, so lag is flat: {ours.text} a batch",
    )  # fmt: skip


def _view(n: int) -> dict[str, object]:
    properties = {**traffic.PRODUCTS[1], "currency": "GBP", "url": "http://127.0.0.1:8080/shop/?product=22423"}
    name = {"messageId": f"b-0-{n}", "userId": f"wrk-{n}"}
    return {"type": "track", **name, "event": "Product Viewed", "properties": properties}


def _rate(once: Callable[[], object], seconds: float = 0.5) -> float:
    """Events a second of decoding one batch, one core."""
    count, started = 0, time.process_time()
    while (spent := time.process_time() - started) < seconds:
        once()
        count += traffic.BATCH
    return count / spent


def _shop(report: Report, folder: Path, seconds: float) -> None:
    """The mixed traffic of the shop in batches, four of them under way."""
    target = folder / "shop"
    target.mkdir()
    with serving(target, "smtp://127.0.0.1:9") as server:
        bodies = traffic.shop_batches(round(seconds * 150), 7, profiles=20_000)
        before = server.cpu_s()
        count, spent, statuses = asyncio.run(pump(server.url, bodies, 4))
        cpu = server.cpu_s() - before
        report.add(
            "ingest", "durable and decided, batches of 100, shop traffic", count / spent, "events/s", target="40,000",
            cpu_us=cpu / count * 1e6, processes=len(server.family),
            note=f"4 batches under way; ten kinds of events, 20,000 people, merges; statuses {statuses}",
        )  # fmt: skip

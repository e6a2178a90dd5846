"""A broadcast to 100,000 people through a real server, into smtp-sink, with triggered mail beside it.

People come by ``heliograph import`` (with consent), the broadcast by ``POST /api/broadcasts``; a segment is its
audience, 10 KB its message, unsigned and signed.  Meanwhile twenty strangers a second cause a mail each: its way is
counted from the instant its event was due to the instant the relay said 250 (one clock for all processes of a machine).
"""

import http.client
import re
import subprocess
import sys
import threading
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec

from bench import letters
from bench.figures import Report
from bench.latency import percentile
from bench.processes import cpu_s, missing, rss_bytes, smtp_sink
from bench.server import TOKEN, WRITE_KEY, Server, serving

PEOPLE, QUICK = 100_000, 5_000
TRIGGERED_PER_S = 20.0
LOOK_S = 0.25
PATIENCE_S = 1_800.0
FIELDS = 5
"""Traits of each person, used again and again in the letter."""

TOML = f"""
[project]
name = "broadcast"
base_url = "http://127.0.0.1:1"
[collect]
write_key = "{WRITE_KEY}"
[api]
token = "{TOKEN}"
[smtp]
url = "smtp://127.0.0.1:1"
[sender.default]
from = "{letters.SENDER}"
postal_address = "{letters.POSTAL}"
"""
FILES = {
    "policies.yaml": "topics: {offers: {consent: required}}\n",
    "segments/readers.yaml": "name: readers\nif: {trait: {path: reader, is: true}}\n",
    "journeys/ping.yaml": "name: ping\nentry: {event: Ping, key: properties.n}\nsteps:\n  - send: ping\n",
    "templates/ping/message.yaml": 'subject: "Ping {{ event.properties.n }}"\nsender: default\nclass: transactional\n',
    "templates/ping/body.html": "<p>Ping {{ event.properties.n }}</p>\n",
    "templates/letter/message.yaml": 'subject: "{{ profile.firstName }}, a letter"\nsender: default\n',
}
BROADCAST = {
    "id": "bench",
    "name": "Bench",
    "template": "letter",
    "topic": "offers",
    "audience": {"segment": "readers"},
}
ENDED = frozenset({"finished", "cancelled", "paused"})


def run(report: Report, folder: Path, quick: bool) -> None:
    if note := missing("smtp-sink"):
        report.add("broadcast", "messages a second", None, "messages/s", note=note)
        return
    for scheme in ("none",) if quick else ("none", "rsa"):
        place = folder / scheme
        place.mkdir()
        with (
            smtp_sink() as port,
            serving(place, f"smtp://127.0.0.1:{port}?starttls=off", project(place, scheme)) as server,
        ):
            Trial(server, QUICK if quick else PEOPLE).run(report, "no DKIM" if scheme == "none" else "RSA-2048")


def project(folder: Path, scheme: str) -> Path:
    """A project of one journey, one segment and the letter."""
    body = re.sub(r"profile\.field(\d+)", lambda found: f"profile.field{int(found[1]) % FIELDS}", letters.body())
    keys = "".join(
        f'{{ domain = "shop.example", selector = "{kind}", key_file = "{kind}.pem" }},'
        for kind in letters.kinds(scheme)
    )
    files = {"heliograph.toml": f"{TOML}dkim = [{keys}]\n", **FILES, "templates/letter/body.html": body}
    files |= {f"{kind}.pem": letters.pem(kind) for kind in letters.kinds(scheme)}
    for name, text in files.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "project"


class Trial:
    """One broadcast.  ``engine``, ``mailers``: process ids."""

    def __init__(self, server: Server, people: int) -> None:
        self._server, self._people = server, people
        self.engine, self.mailers = server.family[:1], server.family[1:]
        self._api = Api(server.port)
        self._peaks = [0, 0]

    def run(self, report: Report, signed: str) -> None:
        imported = bring_in(self._server, self._people)
        pings = Pings(self._server.port)
        cpu = [cpu_s(pids) for pids in (self.engine, self.mailers)]
        started = time.monotonic()
        self._api.call("POST", "/api/broadcasts", BROADCAST)
        pings.start()
        first, last, progress = self._watch(started)
        engine_s, mailers_s = (
            cpu_s(pids) - before for pids, before in zip((self.engine, self.mailers), cpu, strict=True)
        )
        pings.stop()
        self._check(progress)
        self._say(report, signed, imported, first, last, engine_s, mailers_s)
        pings.say(report, signed, self._api)

    def _watch(self, started: float) -> tuple[float, float, dict[str, Any]]:
        """Seconds from the call to the first mail that was sent and to the last; the progress at the end."""
        first = 0.0
        while time.monotonic() - started < PATIENCE_S:
            state = self._api.call("GET", f"/api/broadcasts/{BROADCAST['id']}")
            now, sent = time.monotonic() - started, state["progress"]["messages"].get("sent", 0)
            first = first or (now if sent else 0.0)
            self._peaks = [
                max(peak, rss_bytes(pids)) for peak, pids in zip(self._peaks, (self.engine, self.mailers), strict=True)
            ]
            if state["status"] in ENDED:
                return first, now, state["progress"]
            time.sleep(LOOK_S if first else 0.01)
        raise RuntimeError(f"the broadcast is not finished after {PATIENCE_S:g} s: {state}")

    def _check(self, progress: dict[str, Any]) -> None:
        if progress["messages"] != {"sent": self._people} or progress["people"]["entered"] != self._people:
            raise RuntimeError(f"a mail for each of {self._people} people was due: {progress}")

    def _say(
        self, report: Report, signed: str, imported: float, first: float, last: float, engine_s: float, mailers_s: float
    ) -> None:
        def us(seconds: float) -> float:
            return seconds / self._people * 1e6

        people, processes = f"{self._people:,} people", 1 + len(self.mailers)
        report.add("broadcast", f"{people} imported with consent", imported, "people/s", processes=processes)
        report.add(
            "broadcast", f"broadcast to {people}, 10 KB, {signed}", self._people / last, "messages/s",
            cpu_us=us(engine_s + mailers_s), processes=processes,
            note=f"engine {us(engine_s):.0f} us a message, mailers {us(mailers_s):.0f}; durable, each with its outcome",
        )  # fmt: skip
        report.add("broadcast", f"to the first mail, {signed}", first, "s")
        report.add("broadcast", f"to the last mail, {signed}", last, "s")
        peaks = f"engine {self._peaks[0] / 2**20:.0f} MB, mailers {self._peaks[1] / 2**20:.0f} MB"
        report.add("broadcast", f"resident memory at most, {signed}", sum(self._peaks) / 2**20, "MB", note=peaks)


def bring_in(server: Server, people: int) -> float:
    """Import them; people a second, until the segment has them all."""
    api, file, started = Api(server.port), server.folder / "people.jsonl", time.monotonic()
    file.write_bytes(b"\n".join(msgspec.json.encode(person(n)) for n in range(people)))
    command = [sys.executable, "-m", "heliograph.cli", "import", str(file), "--topic", "offers"]
    command += ["--consent-source", "bench", "--consent-at", "2026-01-01T00:00:00Z", "--url", server.url]
    command += ["--token", TOKEN, "--write-key", WRITE_KEY, "--strict"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    while (count := api.call("GET", "/api/segments/readers/members?limit=1")["count"]) < people:
        if time.monotonic() - started > PATIENCE_S:
            raise RuntimeError(f"only {count} of {people} people are in the segment")
        time.sleep(LOOK_S)
    return people / (time.monotonic() - started)


def person(n: int) -> dict[str, Any]:
    traits = {f"field{k}": f"person {n} & value {k}" for k in range(FIELDS)}
    return {
        "user_id": f"user-{n}",
        "email": f"user-{n}@bench.example",
        "firstName": f"Ada {n}",
        "reader": True,
        **traits,
    }


class Api:
    """JSON over one connection, kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def call(self, method: str, path: str, body: Any = None, authorization: str = f"Bearer {TOKEN}") -> Any:
        data = b"" if body is None else msgspec.json.encode(body)
        headers = {"authorization": authorization, "content-type": "application/json"}
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return msgspec.json.decode(text)


class Pings:
    """Triggered mail, open loop: what is late because the answer before it was late counts from when it was due."""

    def __init__(self, port: int) -> None:
        self._api = Api(port)
        self._due: list[int] = []
        self._going = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._going.set()
        self._thread.start()

    def stop(self) -> None:
        self._going.clear()
        self._thread.join()

    def _run(self) -> None:
        key = "Basic " + b64encode(f"{WRITE_KEY}:".encode()).decode()
        began = time.time()
        while self._going.is_set():
            n = len(self._due)
            due = began + n / TRIGGERED_PER_S
            time.sleep(max(0.0, due - time.time()))
            self._due.append(round(due * 1000))
            traits = {"email": f"ping-{n}@strangers.example"}
            call = {"userId": f"ping-{n}", "event": "Ping", "properties": {"n": n}, "context": {"traits": traits}}
            self._api.call("POST", "/v1/track", call, key)

    def say(self, report: Report, signed: str, api: Api) -> None:
        taken = sorted(self._latency(api, n) for n in range(len(self._due)))
        for share in (0.5, 0.99):
            report.add(
                "broadcast", f"triggered mail beside it, event to 250, {signed}, p{share * 100:g}",
                percentile(taken, share), "ms", note=f"{len(taken)} mails, {TRIGGERED_PER_S:g} a second",
            )  # fmt: skip

    def _latency(self, api: Api, n: int) -> float:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            (message,) = api.call("GET", f"/api/messages?profile=ping-{n}")["messages"]
            if message["sent_at"]:
                return float(message["sent_at"] - self._due[n])
            time.sleep(LOOK_S)
        raise RuntimeError(f"triggered mail {n} was not sent")

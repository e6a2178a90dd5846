#!/usr/bin/env python3
"""Kafka, PostgreSQL, Redis, Flink and a mail server on this machine, without containers: real ones, on 127.0.0.1.

    deploy/local/cluster.py start [NAME...]      kafka (kafka:3 is three brokers), postgres, redis, sink, flink
    deploy/local/cluster.py stop [NAME...]       without a name: everything, also what a crashed starter left behind
    deploy/local/cluster.py kill NAME            kill -9, with all its children; kafka-2 is the second broker
    deploy/local/cluster.py pause NAME | resume NAME          SIGSTOP and SIGCONT
    deploy/local/cluster.py status

``start`` without a name starts all; it may be called again for what is missing or was killed: same ports, same data.
Everything lives in one folder (``--run``, else HELIOGRAPH_LOCAL, else ``deploy/local/run``): data and log of each,
``cluster.json`` with the addresses, ``cluster.env`` with the same as variables for heliograph.  Stopped, it may go.

A server writes its own process id before it becomes itself, so that nothing escapes ``stop``; an id counts only while
its process works in the server's folder, so that no stranger is hit who got the number later.
"""

import argparse
import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from services import KINDS, Missing, Service

HERE = Path(__file__).parent
PATIENCE_S = 180.0
"""For a server to come up or go down, on a busy machine."""
PORTS = range(20_000, 32_000)
"""Below what Linux gives to outgoing connections: a port stays free while its server is down."""


class Cluster:
    """The servers whose data is in ``run``."""

    def __init__(self, run: Path) -> None:
        self.run = run.resolve()
        self._file = self.run / "cluster.json"
        self._begun: dict[str, subprocess.Popen] = {}

    # -- what there is --

    @property
    def addresses(self) -> dict[str, dict[str, object]]:
        """By the kind of server; what ``cluster.json`` says."""
        known: dict[str, dict[str, object]] = (
            json.loads(self._file.read_text())["addresses"] if self._file.exists() else {}
        )
        return known

    def _ports(self) -> dict[str, dict[str, int]]:
        """By the name of the server."""
        return self._known()["ports"]

    def _known(self) -> dict[str, dict]:
        return json.loads(self._file.read_text()) if self._file.exists() else {"addresses": {}, "ports": {}}

    def names(self, kind: str = "") -> list[str]:
        """Of the servers that were ever started here."""
        return [name for name in self._ports() if not kind or kind in (name, name.partition("-")[0])]

    def status(self) -> dict[str, str]:
        """running, paused or down, by name."""
        return {name: _status(self.pids(name)) for name in self.names()}

    def pids(self, name: str) -> list[int]:
        """The server's process and its descendants, parents first."""
        folder = self.run / name
        if name in self._begun:
            self._begun[name].poll()  # buries it when it is dead
        try:
            first = int((folder / "pid").read_text())
            if not Path(f"/proc/{first}/cwd").readlink().is_relative_to(folder):
                return []
        except (OSError, ValueError):
            return []
        return _family(first)

    # -- what can be done with it --

    def start(self, *wanted: str) -> None:
        """Those that do not run yet, together; returns when all of them answer."""
        services = [service for want in wanted or KINDS for service in self._services(want)]
        begun = [service for service in services if not self.pids(service.name)]
        for service in begun:
            self._begun[service.name] = self._spawn(service)
        for service in begun:
            self._await(service)
        for kind in dict.fromkeys(service.kind for service in services):
            KINDS[kind].settle([service for service in services if service.kind == kind])

    def stop(self, *wanted: str) -> None:
        names = [name for want in wanted for name in self.names(want)] if wanted else self.names()
        for name in names:
            for pid in self.pids(name):
                _signal(pid, signal.SIGCONT)
            for pid in self.pids(name)[:1]:
                _signal(pid, KINDS[name.partition("-")[0]].farewell)
        self._gone(names, PATIENCE_S / 12)
        self.kill(*names)

    def kill(self, *names: str) -> None:
        """Kill -9, whole families; returns when they are gone."""
        self._each(names, signal.SIGKILL)
        self._gone(self._named(names), PATIENCE_S)

    def pause(self, *names: str) -> None:
        self._each(names, signal.SIGSTOP)

    def resume(self, *names: str) -> None:
        self._each(names, signal.SIGCONT)

    # -- how --

    def _services(self, want: str) -> list[Service]:
        kind, _, count = want.partition(":")
        if kind not in KINDS:
            raise Missing(f"no server is called {kind}; there are {', '.join(KINDS)}")
        with self._registered() as known:
            have = [name for name in known["ports"] if name.partition("-")[0] == kind]
            names = have or KINDS[kind].names(int(count or KINDS[kind].usual))
            for name in (name for name in names if name not in known["ports"]):
                known["ports"][name] = dict(zip(KINDS[kind].ports, _free_ports(known["ports"]), strict=False))
            ports = {name: known["ports"][name] for name in names}
            services = [KINDS[kind](name, self.run / name, ports) for name in names]
            known["addresses"][kind] = KINDS[kind].addresses(services)
        return services

    @contextlib.contextmanager
    def _registered(self) -> Iterator[dict[str, dict]]:
        """What ``cluster.json`` says, to be changed by one at a time."""
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._known()
            yield known
            _replace(self._file, json.dumps(known, indent=2) + "\n")
            _replace(self.run / "cluster.env", _variables(known["addresses"]))

    def _spawn(self, service: Service) -> subprocess.Popen:
        service.folder.mkdir(exist_ok=True)
        if service.user:
            shutil.chown(service.folder, service.user)
        if not (service.folder / "prepared").exists():
            service.prepare()
            (service.folder / "prepared").touch()
        service.tidy()
        with (service.folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["sh", "-c", 'echo $$ >pid; exec "$@"', "sh", *service.command()],
                cwd=service.folder, env={**os.environ, **service.environment()}, user=service.user or None,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _await(self, service: Service) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not service.ready():
            if self._begun[service.name].poll() is not None or time.monotonic() > deadline:
                said = (service.folder / "log").read_text(errors="replace")[-3000:]
                self.kill(service.name)
                raise Missing(f"{service.name} does not start; its log ({service.folder}/log) ends:\n{said}")
            time.sleep(0.05)

    def _named(self, wanted: Sequence[str]) -> list[str]:
        return [name for want in wanted for name in self.names(want)]

    def _each(self, wanted: Sequence[str], what: signal.Signals) -> None:
        for name in self._named(wanted):
            for pid in self.pids(name):
                _signal(pid, what)

    def _gone(self, names: Sequence[str], patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while any(map(self.pids, names)) and time.monotonic() < deadline:
            time.sleep(0.02)
        for name in names:
            if name in self._begun and not self.pids(name):
                self._begun.pop(name).wait()


def _family(pid: int) -> list[int]:
    """A process and its descendants, parents first; nothing of those that are dead and not yet buried."""
    children: dict[int, list[int]] = {}
    dead = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            children.setdefault(int(parent), []).append(int(stat.parent.name))
            if state in "ZX":
                dead.add(int(stat.parent.name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return [member for member in family if member not in dead]


def _status(pids: list[int]) -> str:
    if not pids:
        return "down"
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return "paused"
    return "running"


def _signal(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def _free_ports(known: dict[str, dict[str, int]]) -> Iterator[int]:
    taken = {port for ports in known.values() for port in ports.values()}
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                yield port


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def _variables(addresses: dict[str, dict[str, object]]) -> str:
    settings = {name: value for kind in addresses for name, value in KINDS[kind].settings(addresses[kind]).items()}
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path(os.environ.get("HELIOGRAPH_LOCAL", HERE / "run")))
    parser.add_argument("what", choices=["start", "stop", "kill", "pause", "resume", "status"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.run)
    try:
        if arguments.what != "status":
            getattr(cluster, arguments.what)(*arguments.names)
    except Missing as error:
        sys.exit(str(error))
    for name, status in cluster.status().items():
        sys.stdout.write(f"{name:12} {status}\n")
    if arguments.what == "start":
        sys.stdout.write(f"addresses: {cluster.run}/cluster.json and cluster.env\n")


if __name__ == "__main__":
    main()

"""``heliograph serve`` in processes of its own, as users run it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.processes import cpu_s, end, family, free_port

ROOT = Path(__file__).parent.parent
SHOP = ROOT / "examples" / "shop"
WRITE_KEY, TOKEN = "demo-write-key", "demo-token"
PATIENCE_S = 60.0


class Server:
    """``family``: the engine and its mailers.  ``role``: of ``heliograph serve``."""

    def __init__(self, folder: Path, smtp_url: str, project: Path = SHOP, role: str = "all") -> None:
        self.folder, self.project, self._role = folder, project, role
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._environment = {  # a start that compiles every module anew is none that users see
            **inherited,
            "HELIOGRAPH_SMTP_URL": smtp_url,
            "HELIOGRAPH_PROJECT_BASE_URL": self.url,
            "HELIOGRAPH_COLLECT_RATE_LIMIT": "10000000/s",
            "HELIOGRAPH_LOG_LEVEL": "warning",
        }
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        command = [sys.executable, "-m", "heliograph.cli", "serve", "--project", str(self.project)]
        command += ["--data", str(self.folder / "data"), "--port", str(self.port)]
        command += ["--role", self._role] if self._role != "all" else []
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "server.log").read_text()[-4000:])
            time.sleep(0.01)

    def _ready(self) -> bool:
        try:
            if self._role == "collect":
                return bool(self.get("/readyz"))
            return b"heliograph_mailers 1" in self.get("/metrics")
        except OSError:
            return False

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    @property
    def family(self) -> list[int]:
        return family(self.process.pid)

    def cpu_s(self) -> float:
        return cpu_s(self.family)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        end(self.process, how)


@contextlib.contextmanager
def serving(folder: Path, smtp_url: str, project: Path = SHOP, role: str = "all") -> Iterator[Server]:
    server = Server(folder, smtp_url, project, role)
    try:
        server.start()
        yield server
    finally:
        server.stop()

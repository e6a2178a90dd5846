"""Other people's senders and signers, run beside ours: smtp-source, openssl, nodemailer.

Whatever is not here is told as missing, with what would bring it; nothing is guessed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench.mailing import CONNECTIONS, Sent
from bench.processes import tool

NODEMAILER = "nodemailer@10.6.0"
SCRIPT = Path(__file__).with_name("nodemailer.mjs")
INSTALL_S = 120.0


def source(port: int, count: int, size: int, *, keep: bool) -> Sent:
    """smtp-source with as many sessions and as large messages as ours; ``keep``: it keeps connections (``-d``)."""
    program = tool("smtp-source")
    assert program is not None, "ask missing() first"
    command = [program, *(["-d"] if keep else []), "-s", str(CONNECTIONS), "-l", str(size)]
    command += ["-m", str(count), "-f", "hello@shop.example", "-t", "ada@bench.example", f"127.0.0.1:{port}"]
    before, started = os.times(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Sent(count, seconds, cpu)


def speed(kind: str, scale: float) -> float:
    """Signatures a second on one core, as openssl measures it."""
    seconds = "1" if scale < 1 else "3"
    program = tool("openssl")
    assert program is not None, "ask missing() first"
    out = subprocess.run(
        [program, "speed", "-seconds", seconds, "-mr", kind], capture_output=True, text=True, check=True
    ).stdout
    if found := re.search(r"^\+F[26]:\d+:\d+:(?:Ed\w+:)?([\d.e-]+):", out, re.MULTILINE):
        return 1 / value if (value := float(found[1])) < 1 else value
    raise RuntimeError(f"{sys.platform}: openssl speed says {out!r}")


class Nodemailer:
    """nodemailer with its pool, in a folder of the user's cache.  ``missing``: why there is none, "" when there is."""

    def __init__(self, cache: Path | None = None) -> None:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        self._folder = cache or root / "heliograph-bench" / NODEMAILER
        self.missing = self._install()

    def _install(self) -> str:
        if (self._folder / "node_modules/nodemailer/package.json").exists():
            return "" if shutil.which("node") else "apt-get install nodejs"
        if not (shutil.which("node") and shutil.which("npm")):
            return "apt-get install nodejs npm"
        self._folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(self._folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            subprocess.run([*command, NODEMAILER], check=True, capture_output=True, timeout=INSTALL_S)
        except (subprocess.SubprocessError, OSError):
            return f"npm could not install {NODEMAILER}"
        return ""

    def send(self, port: int, count: int, size: int, pem: str = "") -> Sent:
        """Ready messages of this size; with a key they are signed (RSA, relaxed)."""
        plan = {"port": port, "count": count, "size": size, "connections": CONNECTIONS, "dkim": pem}
        command = ["node", str(SCRIPT), msgspec.json.encode(plan).decode()]
        out = subprocess.run(command, cwd=self._folder, capture_output=True, check=True).stdout
        took = msgspec.json.decode(out, type=dict[str, float])
        return Sent(count, took["seconds"], took["cpu_s"])

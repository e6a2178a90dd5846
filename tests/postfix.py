"""A private Postfix for tests: its own configuration, queue, data and ports, in a folder of its own.

Nothing of an installed Postfix is used but its programs.  ``person-0`` to ``person-199`` of ``people.example`` have
Maildirs, filled by ``virtual(8)``; ``gone-0`` to ``gone-9`` are taken by smtpd and bounce later; nobody else exists.
What bounces goes to ``bounces.shop.example``, all of it into one Maildir.  A *door* is an smtpd on a port of its own
with settings of its own, in Postfix's words (``man 5 postconf``).
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.ports import free_port

DOMAIN, BOUNCES = "people.example", "bounces.shop.example"
PATIENCE_S = 60.0
PROGRAMS = "/usr/sbin:/sbin"

Door = Mapping[str, str]

MAIN = {
    "compatibility_level": "3.6",
    "maillog_file": "{folder}/log",
    "maillog_file_prefixes": "{folder}",
    "queue_directory": "{folder}/queue",
    "data_directory": "{folder}/data",
    "myhostname": "receiver.people.example",
    "mydestination": "",
    "local_transport": "error:5.1.1 nobody is local here",
    "alias_maps": "",
    "alias_database": "",
    "mynetworks": "192.0.2.1",
    "inet_interfaces": "loopback-only",
    "inet_protocols": "ipv4",
    "virtual_mailbox_domains": f"{DOMAIN} {BOUNCES}",
    "virtual_mailbox_base": "{folder}/mail",
    "virtual_mailbox_maps": "texthash:{folder}/config/known",
    "virtual_uid_maps": "static:{uid}",
    "virtual_gid_maps": "static:{gid}",
    "virtual_minimum_uid": "1",
    "smtpd_relay_restrictions": "reject_unauth_destination",
    "smtpd_client_event_limit_exceptions": "",
    "smtpd_error_sleep_time": "0",
    "anvil_rate_time_unit": "2s",
}
HAVE_A_BOX = {
    **{f"person-{n}@{DOMAIN}": f"person-{n}/" for n in range(200)},
    f"@{BOUNCES}": "bounces/",
}
KNOWN = {**HAVE_A_BOX, **{f"gone-{n}@{DOMAIN}": f"gone-{n}/" for n in range(10)}}
"""What virtual(8) knows of recipients, and what smtpd does."""

SERVICES = """
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
proxymap  unix  - - n - - proxymap
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
  -o virtual_mailbox_maps=texthash:{folder}/config/have-a-box
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""


def why_not() -> str:
    """Why there can be no Postfix here; empty when there can."""
    if shutil.which("postfix", path=PROGRAMS) is None:
        return "no postfix here; as root: sh scripts/postfix.sh"
    return "" if os.geteuid() == 0 else "Postfix starts as root only"


class Postfix:
    """A running one.  ``ports``: by the name of the door."""

    def __init__(self, folder: Path, doors: Mapping[str, Door]) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in doors}
        self._write(doors)

    def _write(self, doors: Mapping[str, Door]) -> None:
        nobody = pwd.getpwnam("nobody")
        words = {"folder": self.folder, "uid": nobody.pw_uid, "gid": nobody.pw_gid}
        for name in ("config", "queue", "data", "mail"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        os.chown(self.folder / "mail", nobody.pw_uid, nobody.pw_gid)
        main = "".join(f"{name} = {value.format(**words)}\n" for name, value in MAIN.items())
        smtpd = "".join(f"127.0.0.1:{self.ports[name]} inet n - n - - smtpd{_options(doors[name])}\n" for name in doors)
        files = {"main.cf": main, "master.cf": smtpd + SERVICES.format(**words)}
        files |= {"known": _table(KNOWN), "have-a-box": _table(HAVE_A_BOX)}
        for name, text in files.items():
            (self.folder / "config" / name).write_text(text)

    def start(self) -> None:
        command = ["postfix", "-c", str(self.folder / "config"), "start"]
        begun = subprocess.run(command, env=_environment(), capture_output=True, check=False)
        deadline = time.monotonic() + PATIENCE_S
        while not all(map(_listens, self.ports.values())):
            if begun.returncode or time.monotonic() > deadline:
                raise RuntimeError(f"Postfix does not start: {begun.stderr.decode()}{self.log[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Its master ends its daemons; it leads a session of its own."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            master = int((self.folder / "queue/pid/master.pid").read_text())
            os.kill(master, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                os.kill(master, 0)
                time.sleep(0.02)

    @property
    def log(self) -> str:
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else "(it wrote no log)"

    def mails(self, box: str) -> list[bytes]:
        """What is in this Maildir, oldest first."""
        files = sorted((self.folder / "mail" / box / "new").glob("*"), key=lambda file: file.stat().st_mtime_ns)
        return [file.read_bytes() for file in files]

    def people(self) -> dict[str, int]:
        """How many mails each has."""
        return {box.name: len(self.mails(box.name)) for box in (self.folder / "mail").iterdir()}


def _table(rows: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in rows.items())


def _options(door: Door) -> str:
    return "".join(f"\n  -o {{ {name} = {value} }}" for name, value in door.items())


def _environment() -> dict[str, str]:
    """Postfix takes MAIL_CONFIG for its configuration; nobody's may leak in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAIL_")}
    return {**kept, "PATH": f"{PROGRAMS}:{os.environ.get('PATH', '')}"}


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def postfix(doors: Mapping[str, Door]) -> Iterator[Postfix]:
    """Running; its folder is readable for Postfix's users, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="heliograph-postfix-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        server = Postfix(Path(name), doors)
        try:
            server.start()
            yield server
        finally:
            server.stop()

"""What each server of the local cluster is: its ports, how it is prepared once, started, and known to be up."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
FLINK = Path(os.environ.get("FLINK_HOME_DIR", CHECKOUT / ".flink"))
JARS = HERE / "cache" / "kafka"
PROGRAMS = ":".join(
    (os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))))
)


class Missing(Exception):
    """It cannot be started; the text says what to do."""


def program(name: str) -> str:
    found = shutil.which(name, path=PROGRAMS)
    if found is None:
        raise Missing(f"no {name} here: sh scripts/servers.sh (as root it installs what is missing)")
    return found


class Service:
    """One server; ``name`` is its folder, too.  ``peers``: the ports of all of its kind, by name."""

    kind: ClassVar[str]
    ports: ClassVar[tuple[str, ...]] = ("port",)
    usual: ClassVar[int] = 1
    """How many, when nobody says."""
    farewell: ClassVar[signal.Signals] = signal.SIGTERM
    user: str = ""

    def __init__(self, name: str, folder: Path, peers: dict[str, dict[str, int]]) -> None:
        self.name, self.folder, self.peers = name, folder, peers
        self.port = peers[name][self.ports[0]]

    @classmethod
    def names(cls, count: int) -> list[str]:
        return [cls.kind]

    def prepare(self) -> None:
        """Once, in the empty folder."""

    def tidy(self) -> None:
        """Before each start: nothing of this server runs."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    @classmethod
    def settle(cls, services: Sequence["Service"]) -> None:
        """When all of this kind are up."""

    @classmethod
    def addresses(cls, services: Sequence["Service"]) -> dict[str, object]:
        """What a client must know."""
        raise NotImplementedError

    @classmethod
    def settings(cls, addresses: dict[str, object]) -> dict[str, object]:
        """The same as variables of heliograph."""
        raise NotImplementedError

    def run(self, *command: str | Path) -> None:
        """A step of the preparation, in the folder, as the server's user."""
        done = subprocess.run(command, cwd=self.folder, user=self.user or None, capture_output=True, check=False)
        if done.returncode:
            raise Missing(f"{self.name}: {' '.join(map(str, command))}: {done.stderr.decode()}{done.stdout.decode()}")


class Kafka(Service):
    """A broker that is a controller, too (KRaft).  Doors: without anything; TLS (a client may show a certificate of
    the same authority); TLS with SASL (PLAIN, SCRAM).  Who comes without a name may do everything."""

    kind = "kafka"
    ports = ("plaintext", "ssl", "sasl_ssl", "sasl_plaintext", "controller")
    users: ClassVar[dict[str, str]] = {"alice": "alice-secret", "bob": "bob-secret"}
    heap: ClassVar[str] = "512m"

    @classmethod
    def names(cls, count: int) -> list[str]:
        return [f"kafka-{number}" for number in range(1, count + 1)]

    def prepare(self) -> None:
        if not (JARS / "verified").exists():
            raise Missing("no Kafka here: sh scripts/kafka.sh")
        self._certificates()
        (self.folder / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in self._properties().items()))
        scram = [
            f"SCRAM-SHA-{bits}=[name={user},password={password}]"
            for user, password in self.users.items() for bits in (256, 512)
        ]  # fmt: skip
        self.run(
            *self._java("kafka.tools.StorageTool"), "format", "-t", "aGVsaW9ncmFwaC1sb2NhbA", "-c", "server.properties",
            *(word for user in scram for word in ("--add-scram", user)),
        )  # fmt: skip

    def command(self) -> list[str]:
        return [*self._java("kafka.Kafka", f"-Xmx{self.heap}", f"-Xms{self.heap}"), "server.properties"]

    def _java(self, main: str, *options: str) -> list[str]:
        quiet = "-Dorg.apache.logging.log4j.level=WARN"
        return [program("java"), *options, "-XX:+UseG1GC", quiet, "-cp", f"{JARS}/*", main]

    def _properties(self) -> dict[str, object]:
        mine, number = self.peers[self.name], self.name.partition("-")[2]
        doors = {door: f"{door.upper()}://127.0.0.1:{mine[door]}" for door in self.ports}
        several = min(3, len(self.peers))
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required " + " ".join(
            f'user_{user}="{password}"' for user, password in self.users.items()
        )
        sasl = {
            f"listener.name.{door}.{name}.sasl.jaas.config": module
            for door in ("sasl_ssl", "sasl_plaintext")
            for name, module in (("plain", plain + ";"), ("scram-sha-256", scram), ("scram-sha-512", scram))
        }
        return {
            "node.id": number,
            "process.roles": "broker,controller",
            "controller.quorum.voters": ",".join(
                f"{name.partition('-')[2]}@127.0.0.1:{ports['controller']}" for name, ports in self.peers.items()
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(doors.values()),
            "advertised.listeners": ",".join(door for name, door in doors.items() if name != "controller"),
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,"
            "SASL_PLAINTEXT:SASL_PLAINTEXT",
            "log.dirs": self.folder / "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": several,
            "offsets.topic.num.partitions": 8,
            "transaction.state.log.replication.factor": several,
            "transaction.state.log.min.isr": min(2, several),
            "transaction.state.log.num.partitions": 8,
            "share.coordinator.state.topic.replication.factor": several,
            "share.coordinator.state.topic.min.isr": min(2, several),
            "group.initial.rebalance.delay.ms": 0,
            "broker.session.timeout.ms": 6000,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "true",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.folder / "broker.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self._authority / "ca.pem",
            "ssl.client.auth": "requested",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            **sasl,
        }

    @property
    def _authority(self) -> Path:
        return self.folder.parent / "authority"

    def _certificates(self) -> None:
        """A private authority for the cluster, a certificate of this broker and one of a client, all for 30 days."""
        home, openssl = self._authority, program("openssl")
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        if not home.exists():
            home.mkdir()
            authority = ("-x509", "-days", "30", "-subj", "/CN=The authority of a local cluster")
            self.run(openssl, *new, *authority, "-keyout", home / "ca.key", "-out", home / "ca.pem")
            self._sign(home / "client", "client")
        self._sign(self.folder / "broker", self.name)

    def _sign(self, file: Path, name: str) -> None:
        home, openssl = self._authority, program("openssl")
        key, request, signed = file.with_suffix(".key"), file.with_suffix(".csr"), file.with_suffix(".crt")
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        file.with_suffix(".ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self.run(openssl, *new, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        self.run(
            openssl, "x509", "-req", "-in", request, "-days", "30", "-CA", home / "ca.pem", "-CAkey", home / "ca.key",
            "-set_serial", str(abs(hash(name)) + 2), "-extfile", file.with_suffix(".ext"), "-out", signed,
        )  # fmt: skip
        file.with_suffix(".pem").write_text(key.read_text() + signed.read_text())

    @classmethod
    def addresses(cls, services: Sequence[Service]) -> dict[str, object]:
        doors = {
            door: ",".join(f"127.0.0.1:{service.peers[service.name][door]}" for service in services)
            for door in cls.ports if door != "controller"
        }  # fmt: skip
        home = services[0].folder.parent / "authority"
        files = {"ca_file": "ca.pem", "certificate_file": "client.crt", "key_file": "client.key"}
        return {
            "brokers": doors.pop("plaintext"), **doors, "replication": min(3, len(services)), "users": cls.users,
            **{name: str(home / file) for name, file in files.items()},
        }  # fmt: skip

    @classmethod
    def settings(cls, addresses: dict[str, object]) -> dict[str, object]:
        return {
            "HELIOGRAPH_KAFKA_BROKERS": addresses["brokers"],
            "HELIOGRAPH_KAFKA_REPLICATION": addresses["replication"],
        }


class Postgres(Service):
    """One database ``heliograph`` of one owner ``heliograph``, reached over TCP only; on disk before it answers."""

    kind = "postgres"
    farewell = signal.SIGINT  # ends the connections instead of waiting for them
    user = "postgres" if os.geteuid() == 0 else ""

    def prepare(self) -> None:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(self.user or pwd.getpwuid(os.geteuid()).pw_name)
            self._reachable()
            self.run(program("initdb"), "-D", "data", "-U", "heliograph", "-A", "trust", "-E", "UTF8", "--locale=C")
            return
        raise Missing("no user postgres here: sh scripts/servers.sh")

    def tidy(self) -> None:
        """After kill -9 the number in there may be somebody else's, or that of a body that nobody buried."""
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def _reachable(self) -> None:
        closed = [str(folder) for folder in self.folder.parents if self.user and not folder.stat().st_mode & 0o001]
        if closed:
            raise Missing(
                f"PostgreSQL does not run as root, and its user cannot enter {closed[0]}: chmod a+x, or --run"
            )

    def command(self) -> list[str]:
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 200,
            "shared_buffers": "128MB", "max_wal_size": "4GB", "log_checkpoints": "off",
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [program("postgres"), "-D", "data", *words]

    def ready(self) -> bool:
        ask = [program("psql"), "-qAt", self._url("postgres"), "-c", "select 1"]
        return subprocess.run(ask, capture_output=True, check=False).returncode == 0

    def _url(self, database: str = "heliograph") -> str:
        return f"postgresql://heliograph@127.0.0.1:{self.port}/{database}"

    @classmethod
    def settle(cls, services: Sequence[Service]) -> None:
        for service in services:
            known = [program("psql"), "-qAt", service._url("postgres"), "-c", "select datname from pg_database"]
            if "heliograph" not in subprocess.run(known, capture_output=True, text=True, check=True).stdout.split():
                service.run(program("psql"), "-q", service._url("postgres"), "-c", "create database heliograph")

    @classmethod
    def addresses(cls, services: Sequence[Service]) -> dict[str, object]:
        return {"url": services[0]._url()}

    @classmethod
    def settings(cls, addresses: dict[str, object]) -> dict[str, object]:
        return {"HELIOGRAPH_POSTGRES_URL": addresses["url"]}


class Redis(Service):
    """Keeps nothing on disk."""

    kind = "redis"

    def command(self) -> list[str]:
        words = f"--port {self.port} --bind 127.0.0.1 --appendonly no --maxmemory 256mb --maxmemory-policy volatile-lru"
        return [program("redis-server"), *words.split(), "--save", ""]

    def ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
        return False

    @classmethod
    def addresses(cls, services: Sequence[Service]) -> dict[str, object]:
        return {"url": f"redis://127.0.0.1:{services[0].port}/0"}

    @classmethod
    def settings(cls, addresses: dict[str, object]) -> dict[str, object]:
        return {"HELIOGRAPH_REDIS_URL": addresses["url"]}


class Sink(Service):
    """Postfix's smtp-sink: takes every mail; ``mail/`` has one file a minute, a mail begins
    with smtp-sink's own ``X-Client-Addr``."""

    kind = "sink"

    def prepare(self) -> None:
        (self.folder / "mail").mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.folder / "mail", "nobody")

    def command(self) -> list[str]:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return [program("smtp-sink"), *user, "-D", "mail/%Y%m%d-%H%M", f"127.0.0.1:{self.port}", "1000"]

    @classmethod
    def addresses(cls, services: Sequence[Service]) -> dict[str, object]:
        mail = services[0].folder / "mail"
        return {"url": f"smtp://127.0.0.1:{services[0].port}?starttls=off", "mail": str(mail)}

    @classmethod
    def settings(cls, addresses: dict[str, object]) -> dict[str, object]:
        return {"HELIOGRAPH_SMTP_URL": addresses["url"]}


class Flink(Service):
    """A JobManager, and TaskManagers of one slot each, as ``scripts/flink-cluster.sh`` runs them; what they share
    (configuration, checkpoints, savepoints) is in ``flink/`` beside their folders."""

    kind = "flink"
    ports = ("rest", "rpc")
    usual = 2

    @classmethod
    def names(cls, count: int) -> list[str]:
        return ["flink-jobmanager", *(f"flink-{number}" for number in range(1, count + 1))]

    @property
    def _role(self) -> str:
        return self.name.partition("-")[2]

    def prepare(self) -> None:
        if not (FLINK / "pyflink").exists():
            raise Missing(f"no Flink in {FLINK}: make flink")

    def tidy(self) -> None:
        """A TaskManager reads what its JobManager writes as it begins."""
        deadline = time.monotonic() + 60
        while self._role != "jobmanager" and self._managers() is None and time.monotonic() < deadline:
            time.sleep(0.1)

    def command(self) -> list[str]:
        role = [self._role] if self._role == "jobmanager" else ["taskmanager", self._role]
        return ["sh", str(CHECKOUT / "scripts" / "flink-cluster.sh"), *role]

    def environment(self) -> dict[str, str]:
        ports = self.peers["flink-jobmanager"]
        return {
            "FLINK_HOME_DIR": str(FLINK), "FLINK_RUN": str(self.folder.parent / "flink"),
            "FLINK_REST_PORT": str(ports["rest"]), "FLINK_RPC_PORT": str(ports["rpc"]),
        }  # fmt: skip

    def ready(self) -> bool:
        managers = self._managers()
        return managers is not None and (self._role == "jobmanager" or managers >= len(self.peers) - 1)

    def _managers(self) -> int | None:
        """How many TaskManagers the JobManager knows; None while it does not answer."""
        url = f"http://127.0.0.1:{self.peers['flink-jobmanager']['rest']}/overview"
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=2) as reply:
            return int(json.load(reply)["taskmanagers"])
        return None

    @classmethod
    def addresses(cls, services: Sequence[Service]) -> dict[str, object]:
        run = services[0].folder.parent / "flink"
        found = {"url": f"http://127.0.0.1:{services[0].peers['flink-jobmanager']['rest']}", "home": str(FLINK)}
        return found | {name: f"file://{run}/{name}" for name in ("checkpoints", "savepoints")}

    @classmethod
    def settings(cls, addresses: dict[str, object]) -> dict[str, object]:
        return {f"HELIOGRAPH_FLINK_{name.upper()}": value for name, value in addresses.items()}


KINDS: dict[str, type[Service]] = {kind.kind: kind for kind in (Kafka, Postgres, Redis, Sink, Flink)}

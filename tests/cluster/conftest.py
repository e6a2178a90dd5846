"""Real servers for tests, from ``deploy/local``, started when first asked for: Kafka, PostgreSQL, Redis,
smtp-sink, Flink.

What a test gets is its own: topics under a prefix, a database, a prefix of keys.  A test may kill or pause a server
(``cluster.kill("kafka")``): whoever asks for it next finds it up again.  Run by ``make test-cluster``; a plain
``pytest`` leaves this folder alone.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from deploy.local.cluster import Cluster
from deploy.local.services import program

from heliograph.config.settings import FlinkSetting, KafkaSetting, PostgresSetting, RedisSetting
from tests.cluster.drill_post import Street
from tests.cluster.drill_world import Deployment

HERE = Path(__file__).parent
NAME = "heliograph-cluster-"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only for who names this folder, or a file in it."""
    named = any(HERE.name in Path(str(word).partition("::")[0]).parts for word in config.invocation_params.args)
    return None if named else True


@pytest.fixture(scope="session")
def new_cluster() -> Iterator[Callable[[], Cluster]]:
    """A cluster more: for a test that needs three brokers, or one that nobody else uses."""
    _bury()
    made: list[Cluster] = []

    def new() -> Cluster:
        folder = Path(tempfile.mkdtemp(prefix=f"{NAME}{os.getpid()}-"))
        folder.chmod(0o755)  # PostgreSQL and smtp-sink are other users
        made.append(Cluster(folder))
        return made[-1]

    yield new
    for cluster in made:
        cluster.stop()
        shutil.rmtree(cluster.run)


def _bury() -> None:
    """What a run of these tests that was killed left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{NAME}*"):
        if not Path("/proc", folder.name.removeprefix(NAME).partition("-")[0]).exists():
            Cluster(folder).stop()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(new_cluster: Callable[[], Cluster]) -> Cluster:
    """The one that all tests share."""
    return new_cluster()


@pytest.fixture
def kafka(cluster: Cluster, own: str) -> Iterator[KafkaSetting]:
    """One broker, topics of one copy and four partitions."""
    _up(cluster, "kafka")
    setting = KafkaSetting(brokers=str(cluster.addresses["kafka"]["brokers"]), prefix=own, partitions=4, replication=1)
    yield setting
    _up(cluster, "kafka")
    admin = AdminClient({"bootstrap.servers": setting.brokers})
    mine = [topic for topic in admin.list_topics(timeout=60).topics if topic.startswith(f"{own}.")]
    for deleted in (admin.delete_topics(mine) if mine else {}).values():
        deleted.result()


@pytest.fixture
def postgres(cluster: Cluster, own: str) -> Iterator[PostgresSetting]:
    """An empty database."""
    _up(cluster, "postgres")
    url = str(cluster.addresses["postgres"]["url"])
    name = own.replace("-", "_")
    _sql(url, f"create database {name}")
    yield PostgresSetting(url=f"{url.rpartition('/')[0]}/{name}")
    _up(cluster, "postgres")
    _sql(url, f"drop database {name} with (force)")


@pytest.fixture
def redis(cluster: Cluster, own: str) -> RedisSetting:
    """A prefix nobody else has."""
    _up(cluster, "redis")
    return RedisSetting(url=str(cluster.addresses["redis"]["url"]), prefix=own)


@pytest.fixture
def flink(cluster: Cluster) -> FlinkSetting:
    """A JobManager and two TaskManagers of one slot; savepoints and checkpoints in folders of the cluster's."""
    _up(cluster, "flink")
    return FlinkSetting(**{name: str(value) for name, value in cluster.addresses["flink"].items()})


class Sink:
    """A mail server that takes everything."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._folder = url, folder

    def mails(self) -> list[bytes]:
        """Everything taken since the sink first started, in order; who asks for one test alone tells its mails apart
        by address.  Each begins with smtp-sink's own lines (``X-Mail-Args``, ``X-Rcpt-Args``)."""
        taken = b"".join(file.read_bytes() for file in sorted(self._folder.iterdir()))
        return re.split(rb"^(?=X-Client-Addr: )", taken, flags=re.MULTILINE)[1:]


@pytest.fixture
def sink(cluster: Cluster) -> Sink:
    _up(cluster, "sink")
    address = cluster.addresses["sink"]
    return Sink(str(address["url"]), Path(str(address["mail"])))


@pytest.fixture
def street() -> Iterator[Street]:
    """A receiver of mail, and customers."""
    street = Street()
    yield street
    street.close()


@pytest.fixture
def there(
    tmp_path: Path, street: Street, cluster: Cluster, kafka: KafkaSetting, postgres: PostgresSetting,
    redis: RedisSetting, flink: FlinkSetting,
) -> Iterator[Deployment]:  # fmt: skip
    """A whole deployment, of which nothing runs yet."""
    deployment = Deployment(tmp_path, street.post, cluster, kafka, postgres, redis, flink)
    yield deployment
    deployment.end()


@pytest.fixture
def own(request: pytest.FixtureRequest) -> str:
    """A name of this test: lower-case letters, digits and hyphens, at most 60."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"t{abs(hash(request.node.nodeid)) % 10**8}-{name}"[:60].strip("-")


def _up(cluster: Cluster, kind: str) -> None:
    cluster.resume(kind)
    cluster.start(kind)


def _sql(url: str, statement: str) -> None:
    subprocess.run([program("psql"), "-q", url, "-c", statement], check=True)

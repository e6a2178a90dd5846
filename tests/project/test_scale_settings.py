"""Settings of several machines: what a value must be like is said before anything starts."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from heliograph.bootstrap.world import CannotServe, is_scaled, world_of
from heliograph.cli.app import app
from heliograph.config import ConfigError
from tests.project.test_delivery_settings import complaints, read


def test_one_machine_is_the_default_and_brokers_make_it_several(tmp_path: Path) -> None:
    assert not is_scaled(read(tmp_path))
    assert is_scaled(read(tmp_path, '[kafka]\nbrokers = "a:9092, b:9092,[::1]:9092"\n'))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('[kafka]\nbrokers = "kafka"\n', "kafka.brokers must be HOST:PORT"),
        ("[kafka]\npartitions = 0\n", "kafka.partitions must be between 1 and 1024"),
        ('[kafka]\nprotocol = "tls"\n', "kafka.protocol must be plaintext, ssl, sasl_plaintext or sasl_ssl"),
        ('[kafka]\nmechanism = "GSSAPI"\n', "kafka.mechanism must be PLAIN"),
        ('[kafka]\ntimeout = "10s"\n', "kafka.timeout is no length of time"),
        ("[kafka]\nspool_mb = -1\n", "kafka.spool_mb must be between 0"),
        ('[kafka]\nprefix = "a b"\n', "kafka.prefix must be letters"),
        ('[postgres]\nurl = "mysql://x/y"\n', "postgres.url must be like postgresql://"),
        ('[postgres]\nlease = "15"\n', "postgres.lease is no length of time"),
        ('[redis]\nurl = "localhost:6379"\n', "redis.url must be like redis://"),
        ('[server]\ntrusted_proxies = ["10.0.0.1/8"]\n', "server.trusted_proxies must be networks like 10.0.0.0/8"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_it_must_be_like(tmp_path: Path, written: str, said: str) -> None:
    (found,) = complaints(tmp_path, written)
    assert said in found


def test_a_log_without_a_store_is_refused_with_the_key_that_is_missing(tmp_path: Path) -> None:
    settings = read(tmp_path, '[kafka]\nbrokers = "kafka:9092"\n')
    with pytest.raises(ConfigError, match="HELIOGRAPH_POSTGRES_URL"):
        world_of(settings)


def test_packages_that_are_missing_are_said_with_the_command_that_brings_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(tmp_path, '[kafka]\nbrokers = "kafka:9092"\n[postgres]\nurl = "postgresql://h/d"\n')
    monkeypatch.setitem(__import__("sys").modules, "heliograph.adapters.kafka", None)
    with pytest.raises(CannotServe, match=r"pip install 'heliograph\[scale\]'"):
        world_of(settings)


@pytest.mark.parametrize(
    ("kafka", "role", "said"),
    [("", "collect", "[kafka] brokers is not set"), ('[kafka]\nbrokers = "kafka:9092"\n', "mail", "not mail")],
)
def test_a_role_that_means_nothing_is_refused(tmp_path: Path, kafka: str, role: str, said: str) -> None:
    read(tmp_path, kafka)
    done = CliRunner().invoke(app, ["serve", "--project", str(tmp_path), "--data", str(tmp_path / "d"), "--role", role])
    assert done.exit_code == 1
    assert said in done.output

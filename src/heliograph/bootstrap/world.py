"""What several machines share, as the settings name it; and what is said when something of it cannot be had."""

import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from heliograph.bootstrap.backstage import Backstage, Stage
from heliograph.config import ConfigError, Problem, Settings
from heliograph.decide.times import ms
from heliograph.ports import ProfileCache, RateShare, SharedStore, Stream, StreamAway
from heliograph.runtime.scaled import owner_name

GUIDE: Final = "docs/how-to/several-machines.md"

log = structlog.get_logger("heliograph")


class CannotServe(Exception):
    """Somebody has to mend something first; the text says what."""


class World(msgspec.Struct, frozen=True):
    """Makers of what a process needs of the outside; each loop has its own ``stream``."""

    stream: Callable[[], Stream]
    store: Callable[[], SharedStore]
    cache: Callable[[], ProfileCache | None] = lambda: None
    share: Callable[[], RateShare | None] = lambda: None
    stage: Callable[[], Stage] = Backstage
    owner: str = ""


def is_scaled(settings: Settings) -> bool:
    """Several machines share the log."""
    return bool(settings.kafka.brokers)


def world_of(settings: Settings) -> World:
    """The real one.  :class:`CannotServe` or :class:`ConfigError`: what is missing, and the mend."""
    if not settings.postgres.url:
        said = (
            "kafka.brokers is set, so several machines share the log; postgres.url is missing, where they keep what "
            f"they share beside it: set it, or HELIOGRAPH_POSTGRES_URL ({GUIDE})"
        )
        raise ConfigError([Problem("postgres.url", said)])
    try:
        from heliograph.adapters.kafka import KafkaStream
        from heliograph.adapters.redis import RedisProfiles, RedisShare
        from heliograph.adapters.sql import PostgresStore
    except ImportError as error:
        raise CannotServe(
            f"several machines need more packages ({error.name} is missing): pip install 'heliograph[scale]'"
        ) from error
    owner = owner_name(socket.gethostname(), os.getpid(), time.time_ns())
    postgres, redis = settings.postgres, settings.redis
    shared: dict[str, Any] = {"prefix": redis.prefix, "timeout_s": ms(redis.timeout) / 1000}
    return World(
        stream=lambda: KafkaStream(settings.kafka),
        store=lambda: PostgresStore(
            postgres.url, pool=postgres.pool, timeout_s=ms(postgres.timeout) / 1000, name=owner
        ),
        cache=lambda: RedisProfiles(redis.url, **shared) if redis.url else None,
        share=lambda: RedisShare(redis.url, **shared) if redis.url else None,
        owner=owner,
    )  # fmt: skip


def require_topics(settings: Settings) -> None:
    """:class:`CannotServe` when topics are missing or would lose or mix up records.  Kafka away is no reason not to
    begin: a collector waits for it."""
    from heliograph.adapters.kafka import check_topics

    try:
        faults = check_topics(settings.kafka)
    except StreamAway as error:
        log.warning("the log does not answer yet", brokers=settings.kafka.brokers, reason=str(error))
        return
    for fault in faults:
        if not fault.grave:
            log.warning("topic", topic=fault.topic, what=fault.what, mend=fault.mend)
    if grave := [f"{fault.topic}: {fault.what}; {fault.mend}" for fault in faults if fault.grave]:
        raise CannotServe("\n".join(grave))

"""Redis: reachable, new enough, and made so that a full cache forgets instead of refusing."""

import importlib
from typing import Any, Final

from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient, seconds, where

OLDEST: Final = (6, 2)
FORGETTING: Final = ("allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu", "volatile-ttl")
EXTRA: Final = "pip install 'heliograph[scale]'"
PATIENCE_S: Final = 3.0
"""More than ``redis.timeout``, which is for a render that can do without."""


async def redis(patient: Patient) -> list[Finding]:
    """INFO and TIME: what a user without admin rights may ask."""
    settings = patient.settings
    if settings is None or not settings.redis.url:
        return [skipped("redis", "no redis.url: no cache, and each worker keeps to its share of every rate")]
    try:
        library = importlib.import_module("redis.asyncio")
        errors = importlib.import_module("redis.exceptions")
    except ImportError:
        return [fail("redis", "the redis client is not installed", EXTRA)]
    url = settings.redis.url
    patience = max(PATIENCE_S, seconds(settings.redis.timeout))
    try:
        client = library.from_url(url, socket_timeout=patience, socket_connect_timeout=patience)
    except ValueError as error:
        return [fail("redis", f"{where(url)}: {error}", "write redis.url like redis://host:6379/0 (or rediss://)")]
    try:
        before = patient.now()
        at, micros = await client.time()
        patient.hear_clock("redis", at + micros / 1e6, before)
        info = await client.info()
    except (errors.RedisError, OSError, TimeoutError) as error:
        return [fail("redis", f"{where(url)}: {error}", "is it running, and is the password right?")]
    finally:
        await client.aclose()
    return [_version(info, where(url)), _memory(info)]


def _version(info: dict[str, Any], shown: str) -> Finding:
    version = str(info.get("redis_version", "0"))
    seen = f"Redis {version} at {shown}, {info.get('role', '?')}"
    if info.get("role") not in (None, "master"):
        return fail("redis", seen, "a replica takes no writes: point redis.url at the primary")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return fail("redis", seen, "6.2 or newer is needed")
    return ok("redis", seen)


def _memory(info: dict[str, Any]) -> Finding:
    policy, most = str(info.get("maxmemory_policy", "?")), int(info.get("maxmemory", 0))
    seen = f"maxmemory {info.get('maxmemory_human', most)}, {policy}"
    mend = "set maxmemory and maxmemory-policy allkeys-lru: everything in there can be made again"
    if most and policy not in FORGETTING:
        return fail("redis.memory", f"{seen}: a full one refuses writes", mend)
    return (
        ok("redis.memory", seen) if most else warn("redis.memory", f"{seen}: it grows until the machine is full", mend)
    )

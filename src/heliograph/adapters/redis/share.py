"""Rates in Redis: one script, one round trip, whatever is asked (``rates.lua``)."""

import asyncio
import hashlib
from importlib import resources
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from heliograph.ports.cache import AHEAD, GRACE_MS, Answer, Ask, Grant, ShareAway

SCRIPT: Final = resources.files(__package__).joinpath("rates.lua").read_bytes()
SHA: Final = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()


class _Reply(msgspec.Struct, array_like=True):
    """As the script packs it: a table without entries is an array there."""

    epoch: str
    now: int
    late: bool
    grants: list[tuple[int, int, int]]
    alive: list[str]
    days: list[tuple[str, list[tuple[str, int]]]]


_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Reply, strict=False).decode


class RedisShare:
    """``url``: ``redis://`` or ``rediss://``; ``prefix``: of keys; ``timeout_s``: of one ask, connecting included."""

    def __init__(self, url: str, prefix: str = "heliograph", timeout_s: float = 0.25) -> None:
        self.patience_ms = max(int(timeout_s * 1000), 1)
        # `socket_timeout` None: redis-py keeps it by `wait_for`, which before Python 3.12 swallows a cancellation that
        # comes with the answer; whoever asks would ask on for ever.  The bound of an ask is in `ask`.
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=timeout_s, max_connections=2, retry=None, protocol=2
        )
        self._arguments: tuple[Any, ...] = (2, f"{{{prefix}:rates}}", f"{{{prefix}:rates}}:lapse")

    async def ask(self, ask: Ask) -> Answer:
        try:
            async with asyncio.timeout(self.patience_ms / 1000):
                reply = _unpack(await self._call(_pack(ask)))
        except (RedisError, OSError, TimeoutError) as error:
            raise ShareAway(f"Redis does not answer: {error or type(error).__name__}") from error
        except msgspec.MsgspecError as error:
            raise ShareAway(f"Redis answers in another version's words ({error}): update every machine") from error
        grants = tuple(Grant(*grant) for grant in reply.grants)
        days = {name: dict(has) for name, has in reply.days}
        return Answer(reply.epoch, reply.now, reply.late, grants, tuple(reply.alive), days)

    async def _call(self, ask: bytes) -> bytes:
        words = (*self._arguments, ask, GRACE_MS, AHEAD)
        try:
            reply = await self._redis.evalsha(SHA, *words)
        except NoScriptError:
            reply = await self._redis.eval(SCRIPT.decode(), *words)
        assert isinstance(reply, bytes)
        return reply

    async def close(self) -> None:
        await self._redis.aclose()

"""Profiles in Redis, for rendering.

A profile lies under ``PREFIX:p:GENERATION:KEY``; the *generation* is the run id of this Redis and a random word under
``PREFIX:generation``.  Whoever could not put something writes another word there before its cache is used again; a
Redis that was restarted, or another that took its place, has another run id.  So nothing from before is found again,
and nobody has to know what it was.  An entry is its ``rev`` in 16 digits (hex), then the blob; nothing behind them: the
person is gone.

After a failure nobody waits: calls answer as if there were nothing, and one thread asks until Redis is back.
"""

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import structlog
from redis import Redis
from redis.exceptions import RedisError

from heliograph.ports.cache import Cached

KEPT_S: Final = 24 * 3600
"""How long an entry is kept that nobody puts again; ``volatile-lru`` drops it before when memory is short."""
PROBE_S: Final = 1.0
AT_ONCE: Final = 500
"""Entries in one call of a script: some ms of Redis at 10 KB each."""
REV: Final = 16
"""Digits in front of a blob."""

_GENERATION: Final = """
local run = string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 1, 16)
local word = redis.call('GET', KEYS[1])
if not word then
  word = ARGV[2]
  redis.call('SET', KEYS[1], word)
end
local function entry(key) return ARGV[1] .. run .. word .. ':' .. key end
"""
"""KEYS: the word; ARGV: what entries begin with, a new word in case there is none, and what a script needs besides."""
GET: Final = f"""{_GENERATION}
local names = {{}}
for i = 3, #ARGV do names[#names + 1] = entry(ARGV[i]) end
return redis.call('MGET', unpack(names))
"""
PUT: Final = f"""{_GENERATION}
for i = 4, #ARGV, 2 do
  local name = entry(ARGV[i])
  local there = redis.call('GETRANGE', name, 0, {REV - 1})
  if there < string.sub(ARGV[i + 1], 1, {REV}) then redis.call('SET', name, ARGV[i + 1], 'EX', ARGV[3]) end
end
return 1
"""
"""A third argument: seconds; then keys and entries.  What is there and as new stays."""

log = structlog.get_logger("heliograph.cache")
T = TypeVar("T")


class RedisProfiles:
    """As of :class:`~heliograph.ports.cache.ProfileCache`.  ``timeout_s``: the longest that one call takes."""

    def __init__(self, url: str, prefix: str = "heliograph", timeout_s: float = 0.25, probe_s: float = PROBE_S) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=None, protocol=2
        )
        self._word, self._entry, self._probe_s = f"{prefix}:generation", f"{prefix}:p:", probe_s
        self._get, self._put = self._redis.register_script(GET), self._redis.register_script(PUT)
        self._counts = Counter(dict.fromkeys(("hit", "missing", "stale", "away"), 0))
        self._lock = threading.Lock()
        self._works = True
        self._missed = 0
        """Puts that were not made."""
        self._probing = False
        self._closed = threading.Event()

    def get(self, wanted: Mapping[str, int]) -> dict[str, bytes]:
        found = self._try(lambda: self._find(list(wanted)))
        if found is None:
            self._counts["away"] += len(wanted)
            return {}
        answer = dict[str, bytes]()
        for (key, at_least), entry in zip(wanted.items(), found, strict=True):
            fate = "missing" if entry is None else "stale" if int(entry[:REV], 16) < at_least else "hit"
            self._counts[fate] += 1
            if entry is not None and fate == "hit" and len(entry) > REV:
                answer[key] = entry[REV:]
        return answer

    def put(self, profiles: Mapping[str, Cached]) -> None:
        if profiles:
            self._try(lambda: self._write(profiles), missed=True)

    def renew(self) -> None:
        self._try(self._begin, missed=True)

    def away(self) -> bool:
        return not self._works

    def counts(self) -> Mapping[str, int]:
        return dict(self._counts)

    def close(self) -> None:
        self._closed.set()
        self._redis.close()

    # -- one call --

    def _find(self, keys: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for begin in range(0, len(keys), AT_ONCE):
            found += self._call(self._get, keys[begin : begin + AT_ONCE])
        return found

    def _write(self, profiles: Mapping[str, Cached]) -> None:
        words = [word for key, one in profiles.items() for word in (key, b"%016x" % one.rev + (one.blob or b""))]
        for begin in range(0, len(words), 2 * AT_ONCE):
            self._call(self._put, [KEPT_S, *words[begin : begin + 2 * AT_ONCE]])

    def _begin(self) -> None:
        self._redis.set(self._word, secrets.token_hex(8))

    def _call(self, script: Any, words: Sequence[Any]) -> Any:
        return script(keys=[self._word], args=[self._entry, secrets.token_hex(8), *words])

    # -- away --

    def _try(self, call: Callable[[], T], *, missed: bool = False) -> T | None:
        """Its result; None when Redis is away, and then what was ``missed`` is made good before it counts as back."""
        if self._works:
            try:
                return call()
            except (RedisError, OSError) as error:
                log.warning("the cache is away: profiles are read from the store", error=str(error))
        with self._lock:
            self._missed += missed
            self._works = False
            if not self._probing:
                self._probing = True
                threading.Thread(target=self._probe, name="heliograph-cache", daemon=True).start()
        return None

    def _probe(self) -> None:
        """Ask until it is back."""
        while not self._closed.wait(self._probe_s):
            missed = self._missed
            try:
                self._begin() if missed else self._redis.ping()
            except (RedisError, OSError):
                continue
            with self._lock:
                if missed == self._missed:
                    self._works, self._probing, self._missed = True, False, 0
                    log.info("the cache is back", missed=missed)
                    return

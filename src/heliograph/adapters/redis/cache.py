"""Profiles in Redis, for rendering.

A profile lies under ``PREFIX:p:KEY``: the *generation* in which it was put, when (ms, the clock of Redis), its ``rev``
in 16 digits (hex), then the blob; nothing behind them: the person is gone.  The generation is the run id of this Redis
and the random word under ``PREFIX:generation``.  Whoever could not put something writes another word there before its
cache is used again; a Redis that was restarted, or another that took its place, has another run id.  So nothing from
before counts any more, and nobody has to know what it was; it is there as what was known last, until it is put again.

After a failure nobody waits: calls answer as if there were nothing, and one thread asks until Redis is back.
"""

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from redis import Redis
from redis.exceptions import RedisError

from heliograph.ports.cache import Cached, Known

KEPT_S: Final = 24 * 3600
"""How long an entry is kept that nobody puts again; ``volatile-lru`` drops it before when memory is short."""
PROBE_S: Final = 1.0
AT_ONCE: Final = 500
"""Entries in one call of a script: some ms of Redis at 10 KB each."""
GENERATION: Final = 32
AT: Final = GENERATION + 13
HEAD: Final = AT + 16
"""Where the generation, the instant and the revision of an entry end."""

_NOW: Final = f"""
local run = string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 1, {GENERATION - 16})
local word = redis.call('GET', KEYS[1])
if not word then
  word = ARGV[2]
  redis.call('SET', KEYS[1], word)
end
local generation = run .. word
local time = redis.call('TIME')
local now = string.format('%013d', time[1] * 1000 + math.floor(time[2] / 1000))
"""
"""KEYS: the word; ARGV: what names of entries begin with, a new word in case there is none, and what a script needs
besides."""
GET: Final = f"""{_NOW}
local names = {{}}
for i = 3, #ARGV do names[#names + 1] = ARGV[1] .. ARGV[i] end
return {{generation, now, redis.call('MGET', unpack(names))}}
"""
PUT: Final = f"""{_NOW}
for i = 4, #ARGV, 2 do
  local name = ARGV[1] .. ARGV[i]
  local head = redis.call('GETRANGE', name, 0, {HEAD - 1})
  local there, rev = string.sub(head, {AT + 1}), string.sub(ARGV[i + 1], 1, {HEAD - AT})
  if there < rev or (there == rev and string.sub(head, 1, {GENERATION}) ~= generation) then
    redis.call('SET', name, generation .. now .. ARGV[i + 1], 'EX', ARGV[3])
  end
end
return 1
"""
"""A third argument: seconds; then keys, and revisions with blobs.  What is newer stays, whenever it was put."""


class Entry(NamedTuple):
    """As it lies there; ``current``: of this generation."""

    current: bool
    age_ms: int
    rev: int
    blob: bytes


log = structlog.get_logger("heliograph.cache")
T = TypeVar("T")


class RedisProfiles:
    """As of :class:`~heliograph.ports.cache.ProfileCache`.  ``timeout_s``: the longest that one call takes."""

    def __init__(self, url: str, prefix: str = "heliograph", timeout_s: float = 0.25, probe_s: float = PROBE_S) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=None, protocol=2
        )
        self._word, self._name, self._probe_s = f"{prefix}:generation", f"{prefix}:p:", probe_s
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
            there = entry if entry is not None and entry.current else None
            fate = "missing" if there is None else "stale" if there.rev < at_least else "hit"
            self._counts[fate] += 1
            if there is not None and fate == "hit" and there.blob:
                answer[key] = there.blob
        return answer

    def last(self, key: str) -> Known | None:
        (entry,) = self._try(lambda: self._find([key])) or [None]
        return Known(entry.blob, entry.age_ms) if entry is not None and entry.blob else None

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

    def _find(self, keys: Sequence[str]) -> list[Entry | None]:
        found: list[Entry | None] = []
        for begin in range(0, len(keys), AT_ONCE):
            generation, now, entries = self._call(self._get, keys[begin : begin + AT_ONCE])
            found += [None if entry is None else _read(entry, generation, int(now)) for entry in entries]
        return found

    def _write(self, profiles: Mapping[str, Cached]) -> None:
        words = [word for key, one in profiles.items() for word in (key, b"%016x" % one.rev + (one.blob or b""))]
        for begin in range(0, len(words), 2 * AT_ONCE):
            self._call(self._put, [KEPT_S, *words[begin : begin + 2 * AT_ONCE]])

    def _begin(self) -> None:
        self._redis.set(self._word, secrets.token_hex(8))

    def _call(self, script: Any, words: Sequence[Any]) -> Any:
        return script(keys=[self._word], args=[self._name, secrets.token_hex(8), *words])

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


def _read(entry: bytes, generation: bytes, now: int) -> Entry:
    at, rev = int(entry[GENERATION:AT]), int(entry[AT:HEAD], 16)
    return Entry(entry[:GENERATION] == generation, max(now - at, 0), rev, entry[HEAD:])

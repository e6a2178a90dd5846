"""What holds for every :class:`~heliograph.ports.cache.ProfileCache`: imported by the suites of the twin and of Redis.
A test gets ``pair``: two caches with one place, as two processes have them."""

from heliograph.ports.cache import Cached, ProfileCache

Pair = tuple[ProfileCache, ProfileCache]


def test_what_one_put_the_other_gets(pair: Pair) -> None:
    one, other = pair
    one.put({"u:1": Cached(5, b"five"), "u:2": Cached(6, b"")})
    assert other.get({"u:1": 5, "u:3": 0}) == {"u:1": b"five"}


def test_a_late_writer_never_overwrites_a_newer_blob(pair: Pair) -> None:
    one, other = pair
    one.put({"u:1": Cached(7, b"new")})
    other.put({"u:1": Cached(6, b"old"), "u:2": Cached(1, b"two")})
    assert one.get({"u:1": 0, "u:2": 0}) == {"u:1": b"new", "u:2": b"two"}


def test_nothing_older_than_asked_for_is_answered(pair: Pair) -> None:
    one, other = pair
    one.put({"u:1": Cached(7, b"seven")})
    assert other.get({"u:1": 8}) == {}
    assert other.get({"u:1": 7}) == {"u:1": b"seven"}
    assert other.counts()["stale"] == 1


def test_who_is_gone_does_not_come_back_with_a_late_writer(pair: Pair) -> None:
    one, other = pair
    one.put({"u:1": Cached(7, b"here")})
    one.put({"u:1": Cached(8, None)})
    other.put({"u:1": Cached(7, b"here")})
    assert other.get({"u:1": 0}) == {}
    other.put({"u:1": Cached(9, b"again")})
    assert one.get({"u:1": 0}) == {"u:1": b"again"}


def test_after_a_renewal_nothing_from_before_is_answered(pair: Pair) -> None:
    one, other = pair
    one.put({"u:1": Cached(7, b"seven")})
    other.renew()
    assert one.get({"u:1": 0}) == other.get({"u:1": 0}) == {}
    one.put({"u:1": Cached(7, b"seven")})
    assert other.get({"u:1": 0}) == {"u:1": b"seven"}


def test_every_profile_asked_for_is_counted(pair: Pair) -> None:
    one, _ = pair
    one.put({"u:1": Cached(7, b"seven"), "u:2": Cached(2, None)})
    one.get({"u:1": 7, "u:2": 0, "u:3": 0})
    one.get({"u:1": 8})
    assert one.counts() == {"hit": 2, "missing": 1, "stale": 1, "away": 0}


def test_a_thousand_profiles_in_one_call(pair: Pair) -> None:
    one, other = pair
    everybody = {f"u:{number}": Cached(number, b"%d" % number) for number in range(1201)}
    one.put(everybody)
    assert other.get(dict.fromkeys(everybody, 0)) == {key: cached.blob for key, cached in everybody.items()}


def test_what_was_put_before_a_renewal_is_what_was_known_last(pair: Pair) -> None:
    """With its age; never somebody who was gone."""
    one, other = pair
    one.put({"u:1": Cached(7, b"seven"), "u:2": Cached(7, b"two")})
    one.put({"u:2": Cached(8, None)})
    other.renew()
    assert one.get({"u:1": 0}) == {}
    known = other.last("u:1")
    assert known is not None
    assert (known.blob, 0 <= known.age_ms < 60_000) == (b"seven", True)
    assert other.last("u:2") is other.last("u:3") is None


def test_a_late_writer_overwrites_nothing_newer_behind_a_renewal_either(pair: Pair) -> None:
    one, other = pair
    one.put({"u:1": Cached(7, b"new")})
    other.renew()
    other.put({"u:1": Cached(6, b"old")})
    assert one.get({"u:1": 0}) == {}
    known = one.last("u:1")
    assert known is not None
    assert known.blob == b"new"

"""What a chunk writes is seen by the next one before it is on disk."""

from heliograph.runtime.recent import Recent


def test_a_written_value_is_seen_through_every_stage() -> None:
    recent: Recent[str, int] = Recent(10)
    recent.write("a", 1)
    assert recent.get("a") == 1
    recent.seal()
    assert recent.get("a") == 1
    recent.write("a", 2)
    assert recent.get("a") == 2
    recent.settle()
    assert recent.get("a") == 2
    recent.seal()
    recent.settle()
    assert recent.get("a") == 2


def test_only_what_is_on_disk_is_forgotten() -> None:
    recent: Recent[int, int] = Recent(2)
    for n in range(5):
        recent.write(n, n)
    recent.seal()
    assert [recent.get(n) for n in range(5)] == [0, 1, 2, 3, 4]
    recent.settle()
    assert [recent.get(n) for n in range(5)] == [None, None, None, 3, 4]


def test_clear_forgets_what_may_never_have_happened() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.keep("read", 1)
    recent.write("sealed", 2)
    recent.seal()
    recent.write("open", 3)
    recent.clear()
    assert not any(recent.get(key) for key in ("read", "sealed", "open"))


def test_unsettled_has_the_latest_word_of_each_key() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.write("a", 1)
    recent.write("b", 1)
    recent.seal()
    recent.write("a", 2)
    assert sorted(recent.unsettled()) == [1, 2]

"""Delays grow, scatter, repeat exactly, and end."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph.deliver.retry import DEFAULT, HOUR, RetryPolicy, delay_ms, next_attempt, spent

attempts = st.integers(1, 10_000)
ids = st.text(min_size=1, max_size=26)


@given(ids, attempts)
def test_a_delay_stays_within_its_jitter_of_the_nominal_one(message_id: str, attempt: int) -> None:
    nominal = min(DEFAULT.first_ms * 2 ** min(attempt - 1, 20), DEFAULT.longest_ms)
    assert abs(delay_ms(message_id, attempt) - nominal) <= nominal * DEFAULT.jitter + 1
    assert delay_ms(message_id, attempt) == delay_ms(message_id, attempt)


def test_messages_refused_together_come_back_apart() -> None:
    assert len({delay_ms(f"m{number}", 1) for number in range(1000)}) > 800


def test_retries_take_about_a_day_and_end() -> None:
    total = sum(delay_ms("m", attempt) for attempt in range(1, DEFAULT.attempts))
    assert 20 * HOUR < total < 28 * HOUR
    assert next_attempt("m", DEFAULT.attempts - 1, 1000) is not None
    assert next_attempt("m", DEFAULT.attempts, 1000) is None
    assert spent("451 later") == "retries spent: 451 later"


def test_a_policy_can_be_quicker() -> None:
    assert next_attempt("m", 1, 1000, RetryPolicy(first_ms=10, jitter=0)) == 1010

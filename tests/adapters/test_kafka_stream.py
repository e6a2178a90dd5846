"""A way to Kafka keeps what runs, and nothing else."""

import gc
from typing import Any

import pytest
from confluent_kafka import KafkaError

from heliograph.adapters.kafka import KafkaStream, client, stream
from heliograph.config import KafkaSetting
from heliograph.ports import EntryRefused, StreamGap, StreamRefused
from heliograph.ports.stream import RECORDS


class Reader:
    """Nobody holds it but who asked for it: a real one is held by its thread until it is closed."""

    closed = 0

    def __init__(self, *_: Any) -> None:
        pass

    async def close(self) -> None:
        Reader.closed += 1


async def test_readers_that_are_over_are_forgotten_and_the_others_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KafkaReader", Reader)
    way, nobody = KafkaStream(KafkaSetting(brokers="127.0.0.1:1")), Any
    for _ in range(10):
        way.reader([RECORDS], nobody, group=None)  # type: ignore[arg-type]
    kept = way.reader([RECORDS], nobody, group=None)  # type: ignore[arg-type]
    gc.collect()
    assert list(way._readers) == [kept]
    await way.close()
    assert Reader.closed == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, EntryRefused),
        (KafkaError.INVALID_RECORD, EntryRefused),
        (KafkaError._AUTO_OFFSET_RESET, StreamGap),
        (KafkaError.OFFSET_OUT_OF_RANGE, StreamGap),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, StreamRefused),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, StreamRefused),
    ],
)
def test_an_error_says_whether_it_is_the_entry_the_place_or_the_topic(code: int, kind: type[Exception]) -> None:
    way = client.Way(KafkaSetting(brokers="127.0.0.1:1"))
    assert type(way.reaction(KafkaError(code), RECORDS)) is kind

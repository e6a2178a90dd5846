"""The schema of heliograph.toml knows every key of receivers, relays and senders that the reader knows."""

import json
from pathlib import Path
from typing import Any

import pytest

import heliograph.project
from heliograph.config import (
    BreakerSetting,
    DirectSetting,
    ReceiverSetting,
    RelaySetting,
    ReplySetting,
    SenderSetting,
    SmtpSetting,
    WarmupSetting,
)
from heliograph.config.settings import fields

SCHEMA = json.loads((Path(heliograph.project.__file__).parent / "schemas" / "heliograph.json").read_text())
TOP: dict[str, Any] = SCHEMA["properties"]
SENDER = TOP["sender"]["additionalProperties"]["properties"]
RECEIVER = TOP["receiver"]["additionalProperties"]["properties"]


@pytest.mark.parametrize(
    ("properties", "setting"),
    [
        (TOP["smtp"]["properties"], SmtpSetting),
        (TOP["direct"]["properties"], DirectSetting),
        (TOP["breaker"]["properties"], BreakerSetting),
        (TOP["relay"]["additionalProperties"]["properties"], RelaySetting),
        (SENDER, SenderSetting),
        (SENDER["warmup"]["properties"], WarmupSetting),
        (RECEIVER, ReceiverSetting),
        (RECEIVER["on_reply"]["items"]["properties"], ReplySetting),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_the_schema_has_the_keys_of_the_reader(properties: dict[str, Any], setting: type) -> None:
    assert set(properties) == set(fields(setting))

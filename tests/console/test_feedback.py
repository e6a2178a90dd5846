"""Bounces and complaints over HTTP: the mail as it came, whatever it is."""

from pathlib import Path

import pytest

from heliograph.console.feedback import MAX_MAIL
from tests.console.test_api import caller
from tests.runtime.harness import call, identify, messages, running, send

PATH = "/api/feedback/mail"
SAMPLES = Path(__file__).parents[1] / "deliver" / "reports"


async def test_a_complaint_tells_which_message_it_is_about() -> None:
    async with running() as engine, caller(engine) as api:
        await send(engine, identify("ann", email="ann@x.example"), call("Order Completed"))
        (row,) = messages(engine)
        raw = (SAMPLES / "rfc5965-abuse.eml").read_text().replace("b" * 26, row.message_id)
        answer = await api.post(PATH, content=raw, headers={"content-type": "message/rfc822"})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["kind"], found["message_id"]) == ("complained", row.message_id)
        assert (found["proven"], found["suppressed"]) == (False, False)


@pytest.mark.parametrize("raw", [b"\x00\xff" * 100, b"hello", (SAMPLES / "vacation.eml").read_bytes()])
async def test_whatever_comes_is_answered(raw: bytes) -> None:
    async with running() as engine, caller(engine) as api:
        answer = await api.post(PATH, content=raw, params={"recipient": "bounce+x@shop.example"})
        assert (answer.status_code, answer.json()["kind"], answer.json()["message_id"]) == (200, "unknown", "")


async def test_nothing_and_too_much_are_refused() -> None:
    async with running() as engine, caller(engine) as api:
        assert (await api.post(PATH, content=b"\r\n")).status_code == 400
        assert (await api.post(PATH, content=b"x" * (MAX_MAIL + 1))).status_code == 413

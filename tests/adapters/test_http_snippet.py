"""The snippet in a real browser, on a page of another origin."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from heliograph.adapters.http.reply import Reply, write
from heliograph.adapters.http.snippet import SOURCE
from heliograph.events.event import Event
from heliograph.ports import Busy
from tests.adapters.http_harness import KEY, door, serving
from tests.fakes import FakeEngine

pytestmark = pytest.mark.browser


def html(host: str) -> bytes:
    """A page with the loader exactly as the head of the file tells users to paste it."""
    _, _, rest = SOURCE.decode().partition("<script>")
    loader = rest.partition("</script>")[0].replace("\n *", "\n")
    assert "WRITE KEY" in loader
    loader = loader.replace("WRITE KEY", KEY).replace("https://heliograph.example", host)
    return f"<!doctype html><title>A shop</title><script>{loader}</script>".encode()


@pytest.fixture
async def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def page(engine: FakeEngine) -> AsyncIterator[Page]:
    """A page with the snippet; page and collector have different origins."""
    async with serving(door(engine)) as collector:
        body = html(f"http://127.0.0.1:{collector.port}")

        async def shop(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await write(send, Reply(200, body, ((b"content-type", b"text/html"),)))

        async with serving(shop) as site, async_playwright() as browsers:
            browser = await browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = await browser.new_page()
            await page.goto(f"http://127.0.0.1:{site.port}/")
            yield page
            await browser.close()


async def arrived(engine: FakeEngine, count: int) -> list[Event]:
    for _ in range(3000):
        if len(engine.arrivals) >= count:
            break
        await asyncio.sleep(0.02)
    assert len(engine.arrivals) >= count
    return [arrival.event for arrival in engine.arrivals if arrival.event]


async def test_calls_made_before_the_script_came_are_sent(engine: FakeEngine, page: Page) -> None:
    (home,) = await arrived(engine, 1)
    assert (home.name, home.properties["title"]) == ("Page Viewed", "A shop")
    assert home.anonymous_id


async def test_who_one_is_stays_until_reset(engine: FakeEngine, page: Page) -> None:
    await page.evaluate("""() => {
        heliograph.track("Before");
        heliograph.identify("u1", {email: "u1@example.com"}); heliograph.track("After", {n: 1});
        heliograph.reset(); heliograph.track("Later") }""")
    _, before, known, after, later = await arrived(engine, 5)
    assert [event.user_id for event in (before, known, after, later)] == [None, "u1", "u1", None]
    assert before.anonymous_id == known.anonymous_id == after.anonymous_id != later.anonymous_id
    assert (known.traits, after.properties) == ({"email": "u1@example.com"}, {"n": 1})


async def test_what_the_server_could_not_take_is_sent_again_and_survives_the_page(
    engine: FakeEngine, page: Page
) -> None:
    await arrived(engine, 1)
    engine.busy = Busy("full")
    await page.evaluate("heliograph.track('Kept')")
    await page.wait_for_function("localStorage.getItem('heliograph_queue')")
    engine.busy = None
    await page.reload()
    names = {event.name for event in await arrived(engine, 3)}
    assert names == {"Page Viewed", "Kept"}


async def test_an_event_on_the_way_out_is_not_lost(engine: FakeEngine, page: Page) -> None:
    await arrived(engine, 1)
    await page.evaluate("heliograph.track('One'); heliograph.track('Two'); location.href = 'about:blank'")
    assert {event.name for event in await arrived(engine, 3)} >= {"One", "Two"}

"""A real browser: the shop's own site with our snippet, and Segment's browser library, unmodified."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ROOT, until
from tests.ports import free_port

LIBRARY = ROOT / "tests/e2e/browser/node_modules/@segment/analytics-next/dist/umd"
pytestmark = pytest.mark.browser


class Demo:
    """``heliograph demo --no-traffic``, on ports of its own."""

    def __init__(self, log: Path) -> None:
        self.port, self.smtp_port, self.log = free_port(), free_port(), log
        command = [sys.executable, "-m", "heliograph.cli", "demo", "--no-traffic"]
        command += ["--port", str(self.port), "--smtp-port", str(self.smtp_port)]
        environment = {**os.environ, "HELIOGRAPH_PROJECT_TIME_SCALE": "7200"}
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def subjects_to(self, address: str) -> list[str]:
        with urllib.request.urlopen(self.url + "/inbox/messages", timeout=30) as answer:
            messages = json.load(answer)["messages"]
        return [message["subject"] for message in messages if message["to"] == address]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo") / "demo.log")
    try:
        until(demo.ready, f"the demo is ready; its log: {demo.log}")
        yield demo
    finally:
        demo.process.terminate()
        demo.process.wait(20)


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    context.close()


def view_a_product(demo: Demo, page: Any, address: str) -> None:
    page.goto(demo.url + "/shop/")
    page.fill("#name", "Ada")
    page.fill("#email", address)
    page.click("#sign-up button")
    page.wait_for_selector("#hello")
    page.click(".product[data-sku='23084']")
    page.click("#detail button[value=close]")
    until(
        lambda: any("Rabbit Night Light" in subject for subject in demo.subjects_to(address)), "the browse mail arrives"
    )


def test_a_product_viewed_in_the_shop_brings_the_browse_mail_into_the_inbox(demo: Demo, page: Any) -> None:
    view_a_product(demo, page, "ada@visitors.example")
    assert not page.errors


def test_the_inbox_shows_the_mail_and_its_links_work(demo: Demo, page: Any) -> None:
    view_a_product(demo, page, "ida@visitors.example")
    page.goto(demo.url + "/inbox")
    page.click("#list button >> nth=0")
    page.wait_for_selector("#open:not([hidden])")
    frame = page.frame_locator("#html")
    frame.locator("a").first.wait_for()
    links = [link.get_attribute("href") for link in frame.locator("a").all()]
    assert links
    assert all(link.startswith((demo.url, "mailto:", "http")) for link in links)
    unsubscribe = next(link for link in links if "/u/" in link)
    assert unsubscribe.startswith(demo.url + "/u/")
    with page.context.expect_page() as opened:
        frame.locator(f"a[href='{unsubscribe}']").click()
    opened.value.wait_for_load_state()
    assert "unsubscribe" in opened.value.content().lower()
    for tab in ("text", "headers", "source"):
        page.click(f"[data-tab={tab}]")
        assert page.locator(f"#{tab}").inner_text().strip()
    assert not page.errors


def test_the_first_page_shows_journeys_messages_and_why(demo: Demo, page: Any) -> None:
    view_a_product(demo, page, "eda@visitors.example")
    page.goto(demo.url + "/")
    page.wait_for_selector("#journeys tr")
    assert "browse-abandonment" in page.locator("#journeys").inner_text()
    page.wait_for_selector("#messages tr")
    page.fill("#person", "eda@visitors.example")
    page.select_option("#journey", "cart-recovery")
    page.click("#find button")
    page.wait_for_selector("#answer p")
    assert "Product Added" in page.locator("#answer").inner_text()
    assert not page.errors


@pytest.mark.skipif(not LIBRARY.exists(), reason="Segment's browser library is not installed: sh scripts/browser.sh")
def test_segments_own_browser_library_works_unmodified(demo: Demo, page: Any) -> None:
    site = f"""<!doctype html><title>Another shop</title><script src="/segment/standalone.js"></script>
    <script>
      const analytics = window.AnalyticsNext.AnalyticsBrowser.load(
        {{ writeKey: "demo-write-key", cdnURL: "{demo.url}" }});
      analytics.identify("next-1", {{ email: "grace@visitors.example", firstName: "Grace" }});
      analytics.track("Product Viewed",
        {{ product_id: "22423", name: "Regency Cake Stand", price: 12.75, url: "{demo.url}/shop/?product=22423" }});
    </script>"""
    standalone = (LIBRARY / "index.js").read_bytes()
    page.route("**/another-shop", lambda route: route.fulfill(body=site, content_type="text/html"))
    page.route("**/segment/standalone.js", lambda route: route.fulfill(body=standalone, content_type="text/javascript"))
    for chunk in LIBRARY.glob("*.bundle.*.js"):
        body = chunk.read_bytes()
        page.route(
            f"**/{chunk.name}", lambda route, body=body: route.fulfill(body=body, content_type="text/javascript")
        )
    page.goto(demo.url + "/another-shop")
    until(
        lambda: any("Regency Cake Stand" in subject for subject in demo.subjects_to("grace@visitors.example")),
        "the browse mail arrives",
    )
    assert not page.errors


def test_chromium_is_here_in_ci() -> None:
    """So that no browser test is silently left out."""
    assert not os.environ.get("CI") or shutil.which("chromium")

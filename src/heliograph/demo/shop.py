"""Where the example shop lies, its site under `/shop/`, and the customers it had before today."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from litestar import Response, Router, get

from heliograph.events.ids import make_id

SITE_FILES = {"index.html": "text/html; charset=utf-8", "shop.css": "text/css", "shop.js": "text/javascript"}
WINDOW_DAYS = 30
"""The window of the segments `lapsed-buyers` and `idle`."""
_PACKAGE = Path(__file__).parent.parent
_PLACES = (_PACKAGE.parent.parent / "examples" / "shop", _PACKAGE / "_examples" / "shop")


def shop_folder() -> Path:
    """The example project: beside the code in a checkout, inside the package in a wheel."""
    for place in _PLACES:
        if (place / "heliograph.toml").exists():
            return place
    raise FileNotFoundError("the example shop is missing from this installation; install heliograph again")


def site_router(folder: Path) -> Router:
    """The shop's pages, so that links in mails lead somewhere on whatever port the demo took."""

    @get(["/", "/{name:str}"], include_in_schema=False)
    async def page(name: str = "index.html") -> Response[bytes]:
        if name not in SITE_FILES:
            return Response(b"no such page", status_code=404, media_type="text/plain")
        content = (folder / "site" / name).read_bytes()
        return Response(content, media_type=SITE_FILES[name], headers={"cache-control": "no-cache"})

    return Router("/shop", route_handlers=[page])


def _person(name: str, first_name: str, when: datetime) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": make_id("demo", "identify", name),
        "userId": name,
        "timestamp": when.isoformat(),
        "traits": {"email": f"{name}@visitors.example", "firstName": first_name, "timezone": "Europe/London"},
        "context": {"historical": True, "consent": {"categoryPreferences": {"offers": True}}},
    }


def _past(name: str, event: str, properties: dict[str, Any], when: datetime) -> dict[str, Any]:
    return {
        "type": "track",
        "messageId": make_id("demo", event, name),
        "userId": name,
        "event": event,
        "properties": properties,
        "timestamp": when.isoformat(),
        "context": {"historical": True},
    }


def past_customers(now: datetime, time_scale: float, lapse_in_s: tuple[float, ...]) -> list[dict[str, Any]]:
    """Buyers whose thirty days (scaled) end in so many seconds: win-back mail comes by the clock alone."""
    calls: list[dict[str, Any]] = []
    window = timedelta(days=WINDOW_DAYS) / time_scale
    for number, seconds in enumerate(lapse_in_s, 1):
        name, when = f"past-buyer-{number}", now - window + timedelta(seconds=seconds)
        product = {"product_id": "22423", "name": "Regency Cake Stand, Three Tiers", "price": 12.75, "quantity": 1}
        order = {"order_id": f"past-{number}", "total": 12.75, "currency": "GBP", "products": [product]}
        calls += [_person(name, "Beatrice", when), _past(name, "Order Completed", order, when)]
    return calls


def idle_visitors(now: datetime, time_scale: float, count: int) -> list[dict[str, Any]]:
    """People whose last visit lies more than thirty days (scaled) back."""
    calls: list[dict[str, Any]] = []
    when = now - timedelta(days=WINDOW_DAYS + 1) / time_scale - timedelta(seconds=60)
    product = {"product_id": "47566", "name": "Party Bunting", "price": 4.95, "currency": "GBP"}
    for number in range(1, count + 1):
        name = f"idle-visitor-{number}"
        calls += [_person(name, "Ingrid", when), _past(name, "Product Viewed", product, when)]
    return calls


def return_visit(number: int) -> dict[str, Any]:
    """An idle visitor comes back today."""
    name = f"idle-visitor-{number}"
    at = datetime.now(UTC).isoformat()
    return {"type": "page", "messageId": make_id("demo", "return", name, at), "userId": name, "name": "Home"}

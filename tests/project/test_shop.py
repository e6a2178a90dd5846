"""The example shop and the starter project: they pass check, and the shop mails what it should."""

import csv
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from heliograph import render
from heliograph.project import FolderNotEmpty, check_project, init_project

SHOP = Path(__file__).parents[2] / "examples" / "shop"
INVOICES = Path(__file__).parents[3] / "shared" / "data" / "online_retail.csv"


def test_the_shop_passes_check_without_a_warning() -> None:
    report = check_project(SHOP, {})
    assert report.findings == []
    assert set(report.document["journeys"]) == {
        "welcome", "browse-abandonment", "cart-recovery", "order-confirmation", "shipping-update", "feedback-request",
        "win-back", "return-visit",
    }  # fmt: skip


def test_a_started_project_passes_check_without_a_warning(tmp_path: Path) -> None:
    init_project(tmp_path / "My Shop & Co")
    report = check_project(tmp_path / "My Shop & Co", {})
    assert report.findings == []
    assert report.document["project"]["name"] == "my-shop-co"


def test_two_started_projects_share_no_secret(tmp_path: Path) -> None:
    for name in ("a", "b"):
        init_project(tmp_path / name)
    first, second = ((tmp_path / name / "heliograph.toml").read_text() for name in ("a", "b"))
    assert not set(re.findall(r'(?:write_key|token) = "(.+?)"', first)) & set(
        re.findall(r'(?:write_key|token) = "(.+?)"', second)
    )
    assert "@" + "TOKEN" not in first


def test_a_started_project_explains_every_key(tmp_path: Path) -> None:
    """Every line that sets something stands below or beside a comment."""
    init_project(tmp_path / "new")
    for name in ("heliograph.toml", "policies.yaml", "segments/customers.yaml", "journeys/welcome.yaml"):
        text = (tmp_path / "new" / name).read_text()
        assert text.count("#") >= 5, name


def test_init_leaves_a_folder_with_something_in_it_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FolderNotEmpty):
        init_project(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


def test_init_takes_a_fresh_git_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert init_project(tmp_path)


# -- the mails --


@pytest.fixture(scope="module")
def templates() -> dict[str, Any]:
    return check_project(SHOP, {}).document["templates"]


ENVELOPE = render.Envelope(
    message_id="m1",
    to="ada@example.com",
    from_="Shop <shop@example.com>",
    date_ms=1_700_000_000_000,
    base_url="https://mail.example",
    link_keys=render.LinkKeys({1: b"k" * 32}),
    topic="news",
    postal_address="The Quay Gift Shop, 1 Quay Street, Bristol BS1 4DJ, UK",
)


def rendered(compiled: dict[str, Any], event: dict[str, Any], **profile: Any) -> str:
    """The text part of a template, as sent."""
    context = {
        "profile": {"id": "ada", "email": "ada@example.com", **profile},
        "event": {"name": "x", "properties": event, "context": {}, "occurred_at": 1_700_000_000_000},
        "trigger": None,
        "run": {"key": "", "journey": "j", "entered_at": 1_700_000_000_000},
        "last": {},
        "now": 1_700_000_000_000,
    }
    return render.render_message(render.load(compiled), context, ENVELOPE).text


def test_a_confirmation_adds_up_for_every_shape_of_order(templates: dict[str, Any]) -> None:
    order = {
        "order_id": 536365,
        "total": 139.1,
        "products": [
            {"name": "A <b>heart</b>", "price": 2.55, "quantity": 6},
            {"sku": "S-1", "price": 3, "quantity": 1},
            {"product_id": "P-2", "price": 0.07},
            {},
        ],
    }
    text = rendered(templates["order-confirmation"], order)
    assert "536365" in text
    for word in ("A <b>heart</b>", "15.30", "S-1", "3.00", "P-2", "0.07", "139.10"):
        assert word in text, word


@pytest.mark.parametrize(("currency", "sign"), [("GBP", "£139.10"), ("EUR", "€139.10"), ("CHF", "CHF 139.10")])
def test_a_confirmation_names_the_currency(templates: dict[str, Any], currency: str, sign: str) -> None:
    order = {"order_id": "1", "total": 139.1, "currency": currency, "products": []}
    assert sign in rendered(templates["order-confirmation"], order)


def invoices() -> dict[str, list[dict[str, str]]]:
    """Real ones where the data set is at hand, else one of 500 odd lines."""
    made = [
        {"InvoiceNo": "1", "StockCode": f"S{n}", "Description": f"Thing {n}", "Quantity": str(n % 37 + 1),
         "UnitPrice": f"{n * 7 % 2000 / 100:.2f}", "CustomerID": "12345"}
        for n in range(500)
    ]  # fmt: skip
    if not INVOICES.exists():
        return {"1": made}
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    with INVOICES.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            found[row["InvoiceNo"]].append(row)
    return found


def test_confirmations_of_real_invoices_show_every_line_and_the_total(templates: dict[str, Any]) -> None:
    """The longest invoices: hundreds of lines, sums to the penny."""
    found = invoices()
    complete = [number for number, rows in found.items() if not number.startswith("C") and rows[0]["CustomerID"]]
    longest = sorted(complete, key=lambda number: -len(found[number]))[:5]
    for number in longest:
        rows = found[number]
        pence = sum(round(float(row["UnitPrice"]) * 100) * int(row["Quantity"]) for row in rows)
        products = [
            {"product_id": row["StockCode"], "name": row["Description"] or None, "price": float(row["UnitPrice"]),
             "quantity": int(row["Quantity"])}
            for row in rows
        ]  # fmt: skip
        order = {"order_id": number, "total": pence / 100, "currency": "GBP", "products": products}
        text = rendered(templates["order-confirmation"], order)
        assert f"£{pence // 100}.{pence % 100:02d}" in text
        prices = re.findall(r"£(\d+)\.(\d\d)", text)
        assert len(prices) == len(rows) + 1
        assert sum(int(pounds) * 100 + int(rest) for pounds, rest in prices) == 2 * pence


@pytest.mark.parametrize("name", sorted(one.name for one in (SHOP / "templates").iterdir()))
def test_no_template_skips_for_want_of_a_name_or_detail(templates: dict[str, Any], name: str) -> None:
    """What the schemas require is enough to send."""
    least = {
        "order-confirmation": {"order_id": "1", "total": 1, "products": []},
        "shipping-update": {"order_id": "1", "shipment_id": "s"},
        "feedback-request": {"order_id": "1", "total": 1, "products": []},
    }
    text = rendered(templates[name], least.get(name, {"product_id": "p"}))
    assert "{" not in text
    marketing = templates[name]["class"] == "marketing"
    assert ("Unsubscribe" in text) == marketing
    assert text.count("1 Quay Street") == 1


def test_names_come_from_the_profile(templates: dict[str, Any]) -> None:
    assert "Hello Ada," in rendered(templates["welcome"], {}, firstName="Ada")
    assert "Hello there," in rendered(templates["welcome"], {})

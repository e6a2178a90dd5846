"""Real purchases of a gift shop, through Segment's own Python library, become real confirmations."""

import csv
import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from segment.analytics.client import Client

from tests.e2e.harness import ROOT, WRITE_KEY, Receiver, Server, shop, text_of, until

DATA = ROOT.parent / "shared" / "data" / "online_retail.csv"
Lines = list[dict[str, str]]

needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real purchases are not beside this checkout")


def invoices() -> dict[str, Lines]:
    """Invoice number -> its lines, in file order."""
    with DATA.open(encoding="latin-1", newline="") as file:
        found: dict[str, Lines] = defaultdict(list)
        for line in csv.DictReader(file):
            found[line["InvoiceNo"]].append(line)
    return dict(found)


def total(lines: Lines) -> Decimal:
    return sum((Decimal(line["UnitPrice"]) * int(line["Quantity"]) for line in lines), Decimal(0))


def properties(number: str, lines: Lines) -> dict[str, Any]:
    products = [
        {
            "product_id": line["StockCode"],
            "name": line["Description"],
            "quantity": int(line["Quantity"]),
            "price": float(line["UnitPrice"]),
        }
        for line in lines
    ]
    return {"order_id": number, "total": float(total(lines)), "currency": "GBP", "products": products}


def address(customer: str) -> str:
    return f"customer-{customer}@gift-shop.example"


def event_name(number: str) -> str:
    return "Order Cancelled" if number.startswith("C") else "Order Completed"


class Till:
    """Posts the invoices the way a shop would: through the library, guests anonymously, over-long ones raw."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.errors: list[Any] = []
        self.refused: dict[str, str] = {}
        self.client = Client(
            WRITE_KEY,
            host=server.url,
            max_queue_size=20_000,
            upload_size=100,
            upload_interval=0.05,
            on_error=self._error,
        )

    def _error(self, error: Exception, batch: Any) -> None:
        self.errors.append((error, batch))

    def ring_up(self, found: dict[str, Lines]) -> None:
        for number, lines in found.items():
            customer = lines[0]["CustomerID"]
            call: dict[str, Any] = {
                "event": event_name(number),
                "properties": properties(number, lines),
                "timestamp": datetime.now(UTC),
                "message_id": f"invoice-{number}",
            }
            if len(json.dumps(call, default=str)) > 31_000:
                self._raw(number, call)
            elif customer:
                self.client.track(
                    user_id=customer, context={"traits": {"email": address(customer)}}, **call
                )  # the library has no identify-and-track in one; context.traits is Segment's way
            else:
                self.client.track(anonymous_id=f"guest-{number}", **call)
        self.client.flush()

    def _raw(self, number: str, call: dict[str, Any]) -> None:
        body = {
            "type": "track",
            "event": call["event"],
            "properties": call["properties"],
            "messageId": call["message_id"],
            "anonymousId": f"guest-{number}",
            "timestamp": call["timestamp"].isoformat(),
        }
        (result,) = self.server.send(body)
        assert result["status"] == "refused"
        self.refused[number] = result["reason"]


def shown_lines(text: str) -> list[tuple[int, str]]:
    """(quantity, line total) of each line that the mail lists, in order."""
    return [(int(q), amount) for q, amount in re.findall(r"(-?\d+)\s*[x×]\s.*?£\s*(-?[\d.,]+)", text, re.S)]


@needs_data
def test_each_completed_order_of_a_customer_is_confirmed_exactly_once(tmp_path: Path) -> None:
    found = invoices()
    confirmed = {n: lines for n, lines in found.items() if lines[0]["CustomerID"] and not n.startswith("C")}
    assert (len(found), len(confirmed)) == (699, 531)
    with Receiver() as receiver, shop(tmp_path, receiver) as server:
        till = Till(server)
        till.ring_up(found)
        assert not till.errors
        assert len(till.refused) == 6
        assert all("32" in reason for reason in till.refused.values()), till.refused

        until(lambda: len(receiver.raw) >= 531, "531 confirmations arrive")
        until(server.settled, "nothing is on its way any more")
        check(receiver, confirmed)

        till.ring_up(found)
        assert not till.errors
        until(server.settled, "nothing is on its way any more")
        assert len(receiver.raw) == 531
        till.client.join()


def check(receiver: Receiver, confirmed: dict[str, Lines]) -> None:
    """Every confirmation has the right address, lines and total, straight from the CSV."""
    mails = {}
    for mail in receiver.mails():
        found = re.search(r"\b(\d{6})\b", str(mail["subject"]))
        assert found, mail["subject"]
        assert found[1] not in mails
        mails[found[1]] = mail
    assert mails.keys() == confirmed.keys()
    for number, lines in confirmed.items():
        mail, text = mails[number], text_of(mails[number])
        assert str(mail["to"]) == address(lines[0]["CustomerID"])
        flat = " ".join(text.split())
        for line in lines:
            assert " ".join(line["Description"].split()) in flat, (number, line)
        assert f"{total(lines):.2f}" in flat.replace(",", ""), (number, total(lines))

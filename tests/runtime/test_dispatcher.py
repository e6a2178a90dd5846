"""The dispatcher beside everything that may happen between two of its steps."""

from typing import Any

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.ports import Store
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank, HandMailer
from heliograph.runtime.publishing import prepare
from heliograph.runtime.sweeper import switch_plan
from tests.runtime.harness import T0, call, identify, shop, template


def crank(store: Store | None = None, document: dict[str, Any] | None = None) -> Crank:
    """The shop, published."""
    made = Crank(
        store or MemoryStore(), ManualClock(T0), compile_schema=JsonSchema, load_template=lambda _compiled: None
    )
    made.publish(document or shop())
    return made


def order(shop: Crank, *users: str) -> None:
    for user in users:
        shop.collect([identify(user, email=f"{user}@{user}.example"), call("Order Completed", user)])


def heard(mailer: HandMailer) -> list[mailwire.FromEngine]:
    found = list(mailer.heard)
    mailer.heard.clear()
    return found


def offered(mailer: HandMailer) -> list[mailwire.Job]:
    return [job for one in heard(mailer) if isinstance(one, mailwire.Offer) for job in one.jobs]


def test_mailers_know_a_template_before_they_are_offered_a_message_of_it() -> None:
    """A plan is in force from its commit on; whoever published it is told behind that, and so may be much mail."""
    shop_ = crank()
    mailer = shop_.mailer()
    heard(mailer)
    document = shop()
    document["templates"]["confirmation"] = template("confirmation", version="00000002", **{"class": "transactional"})
    new = prepare(document, shop_.plan, set(), None, JsonSchema, lambda _compiled: None, ())
    shop_.do(switch_plan(new, shop_.plan, shop_.store))
    order(shop_, "ann")
    shop_.offer()
    shop_.dispatcher.plan_changed()
    told, offer = heard(mailer)
    assert isinstance(told, mailwire.Templates) and isinstance(offer, mailwire.Offer)
    assert [job.template_version for job in offer.jobs] == ["00000002"]
    assert {"00000002"} == {one["version"] for one in told.templates if one["name"] == "confirmation"}

"""Tests for your journeys: a project folder, people, a clock that you move, and the mail that came of it.

    from heliograph.testing import Project

    def test_an_order_ends_the_reminders():
        shop = Project("examples/shop")
        ann = shop.person("ann", email="ann@example.com", consent={"offers": True})
        ann.track("Product Added", cart_id="c1", product_id="lantern", price=10)
        shop.advance("PT30M")
        assert ann.mails == ["cart-reminder"]

What runs is what a server runs: the same plan, the same decisions, the same templates, rendered to the same bytes.
Only time, the disk and the receiver are made up.  Nothing here needs pytest; with it, the fixture ``project`` is the
project whose folder the test lies in, and a failed comparison of mails says why (``heliograph.pytest_plugin``).
"""

from heliograph.project import ProjectError
from heliograph.testing.broadcast import Broadcast
from heliograph.testing.mail import Mail, Mails
from heliograph.testing.person import Person
from heliograph.testing.project import EventRefused, Project
from heliograph.testing.web import Request

__all__ = ["Broadcast", "EventRefused", "Mail", "Mails", "Person", "Project", "ProjectError", "Request"]

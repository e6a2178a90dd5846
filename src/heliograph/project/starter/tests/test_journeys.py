"""What the journeys promise.  `pytest` runs this; `project` is this folder, served in memory with a clock to move."""

from heliograph.testing import Project


def test_who_signs_up_is_welcomed_and_five_days_later_offered_something(project: Project) -> None:
    ann = project.person("ann", email="ann@example.com", consent={"offers": True})
    ann.track("Signed Up")
    assert ann.mails == ["welcome"]
    project.advance("P5D")
    assert ann.mails == ["welcome", "welcome-offer"]


def test_who_buys_gets_no_offer(project: Project) -> None:
    bob = project.person("bob", email="bob@example.com", consent={"offers": True})
    bob.track("Signed Up")
    project.advance("P3D")
    bob.track("Order Completed", total=20)
    project.advance("P30D")
    assert bob.mails == ["welcome"], bob.why("welcome")

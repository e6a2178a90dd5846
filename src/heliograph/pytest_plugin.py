"""What pytest gains from having Heliograph installed: the fixture ``project``, and mails that say why.

Kept apart from :mod:`heliograph.testing` and importing it late, so that test runs that have nothing to do with
journeys do not pay for them.
"""

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from heliograph.testing import Project

SETTINGS = "heliograph.toml"


@pytest.fixture
def project(request: pytest.FixtureRequest) -> "Project":
    """A fresh :class:`heliograph.testing.Project` of the nearest folder above the test that is one."""
    from heliograph.testing import Project

    for folder in request.path.parents:
        if (folder / SETTINGS).is_file():
            return Project(folder)
    raise pytest.UsageError(f"no folder above {request.path} has a {SETTINGS}; use heliograph.testing.Project(FOLDER)")


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: Any, right: Any) -> list[str] | None:
    """Behind the two lists, why each mail that makes the difference was sent or not."""
    testing = sys.modules.get("heliograph.testing")
    if testing is None:
        return None
    match left, op, right:
        case (testing.Mails(), "==", list()):
            mails, expected = left, right
        case (list(), "==", testing.Mails()):
            mails, expected = right, left
        case (str(), "in", testing.Mails()):
            mails, expected = right, [*right, left]
        case (str(), "not in", testing.Mails()):
            mails, expected = right, [name for name in right if name != left]
        case _:
            return None
    return [f"{list(left) if isinstance(left, list) else left!r} {op} {list(right)}", *mails.explained(expected)]

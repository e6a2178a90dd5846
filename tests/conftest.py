"""For every test: nothing is skipped in CI, one seed a run, and long simulations run only when asked for."""

import os
from collections.abc import Iterator

import pytest

from tests import seeds


def pytest_configure() -> None:
    seeds.draw()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"random tests: {seeds.VARIABLE}={os.environ[seeds.VARIABLE]}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the simulations for an hour instead of seconds")
    parser.addoption("--records", type=int, help="of the simulator's worlds in all, instead of an hour of them")
    parser.addoption("--seed", type=int, help="this one round of the simulator")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """A skip is a hole: on a developer's machine it is said, in CI it fails."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """A server started in a test sets the log level for its mailers; later tests start from what was there before."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before) - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]

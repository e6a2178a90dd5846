"""What pytest gains: the fixture of the project that a test lies in, and failures that say why."""

import shutil
from pathlib import Path

import pytest

from heliograph.project import init_project

ROOT = Path(__file__).parents[2]
pytest_plugins = "pytester"


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    shutil.copytree(ROOT / "examples" / "exact", pytester.path, dirs_exist_ok=True)
    shutil.rmtree(pytester.path / "tests")
    return pytester.path


def test_a_failed_comparison_says_why_each_mail_was_or_was_not_sent(pytester: pytest.Pytester, project: Path) -> None:
    pytester.makepyfile(
        """
        def test_mails(project):
            ann = project.person("ann", email="ann@example.com")
            ann.track("Subscription Started")
            project.advance("P29D")
            assert ann.mails == ["renewal"]

        def test_the_other_way_round(project):
            ann = project.person("ann")
            ann.track("Trial Started", trial_id="t1")
            assert ["trial-started"] == ann.mails

        def test_in(project):
            assert "miss-you" in project.person("ann", email="ann@example.com").mails

        def test_not_in(project):
            ann = project.person("ann", email="ann@example.com")
            ann.track("Trial Started", trial_id="t1")
            assert "trial-started" not in ann.mails
        """
    )
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(failed=4)
    said = result.stdout.str()
    assert "assert [] == ['renewal']" in said
    assert "renewal: In the journey since 2026-06-01T09:00:00Z, at the step 'wait-1': waits until" in said
    assert "assert ['trial-started'] == []" in said
    assert "was skipped at 2026-06-01T09:00:00Z: no email address is known" in said
    assert "assert 'miss-you' in []" in said
    assert "miss-you: Not in the segment 'not-buying'" in said
    assert "assert 'trial-started' not in ['trial-started']" in said
    assert "was sent at 2026-06-01T09:00:00Z: 250 2.0.0 Ok." in said


def test_a_test_outside_of_a_project_is_told_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(project): pass")
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no folder above * has a heliograph.toml; use heliograph.testing.Project(FOLDER)"])


def test_a_new_project_passes_its_own_tests(pytester: pytest.Pytester) -> None:
    init_project(pytester.path)
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=2)


def test_other_test_runs_do_not_pay_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_it(): assert not [n for n in sys.modules if 'heliograph.testing' in n]")
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=1)

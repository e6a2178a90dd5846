"""``[breaker]`` and the rules that it becomes say the same."""

from heliograph.bootstrap.breaker import breaker_rules
from heliograph.config import BreakerSetting
from heliograph.deliver.breaker import Rules


def test_the_defaults_are_told_once() -> None:
    assert breaker_rules(BreakerSetting()) == Rules()


def test_every_setting_arrives() -> None:
    setting = BreakerSetting(False, "P1D", 7, "1%", "2.5%", "0%")
    assert breaker_rules(setting) == Rules(False, 86_400_000, 7, 0.01, 0.025, 0)

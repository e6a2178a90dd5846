"""``[breaker]`` as the circuit breaker takes it."""

from heliograph.config import BreakerSetting
from heliograph.decide.times import ms
from heliograph.deliver.breaker import Rules


def breaker_rules(setting: BreakerSetting) -> Rules:
    """The settings were judged when they were read."""
    return Rules(
        enabled=setting.enabled,
        window_ms=ms(setting.window),
        least=setting.least,
        bounces=share(setting.bounces),
        failures=share(setting.failures),
        complaints=share(setting.complaints),
    )


def share(text: str) -> float:
    """``2%`` is 0.02."""
    return float(text.removesuffix("%")) / 100

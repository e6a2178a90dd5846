"""Settings of one server: ``heliograph.toml``, overridden from outside by ``HELIOGRAPH_…`` (contract, section 2)."""

from heliograph.config.problems import ConfigError, Inspection, Problem
from heliograph.config.reading import inspect, is_loopback, line_of, load, with_address
from heliograph.config.rules import DIRECT
from heliograph.config.settings import (
    DEMO_TOKEN,
    DEMO_WRITE_KEY,
    FILE,
    NAMED,
    NOT_SHARED,
    SECTIONS,
    ApiSetting,
    BreakerSetting,
    ClickhouseSetting,
    CollectSetting,
    DirectSetting,
    DkimSetting,
    FlinkSetting,
    KafkaSetting,
    PostgresSetting,
    ProjectSetting,
    ReceiverSetting,
    RedisSetting,
    RelaySetting,
    ReplySetting,
    SenderSetting,
    ServerSetting,
    Settings,
    SmtpSetting,
    TierSetting,
    WarmupSetting,
    WebhooksSetting,
    variable_of,
)

__all__ = [
    "DEMO_TOKEN", "DEMO_WRITE_KEY", "DIRECT", "FILE", "NAMED", "NOT_SHARED", "SECTIONS", "ApiSetting",
    "BreakerSetting", "ClickhouseSetting", "CollectSetting", "ConfigError", "DirectSetting", "DkimSetting",
    "FlinkSetting", "Inspection", "KafkaSetting", "PostgresSetting", "Problem", "ProjectSetting", "ReceiverSetting",
    "RedisSetting", "RelaySetting", "ReplySetting", "SenderSetting", "ServerSetting", "Settings", "SmtpSetting",
    "TierSetting", "WarmupSetting", "WebhooksSetting", "inspect", "is_loopback", "line_of", "load", "variable_of",
    "with_address",
]  # fmt: skip

"""Settings of one server: ``heliograph.toml``, overridden from outside by ``HELIOGRAPH_…`` (contract, section 2)."""

import msgspec


class DkimSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: str
    selector: str
    key_file: str


class SenderSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    from_: str
    reply_to: str | None = None
    postal_address: str = ""
    dkim: tuple[DkimSetting, ...] = ()


class ProjectSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    timezone: str = "UTC"
    base_url: str = "http://127.0.0.1:8080"
    time_scale: float = 1


class ServerSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 8080


class CollectSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    write_key: str
    rate_limit: str = "2000/s"


class ApiSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str


class SmtpSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    project: ProjectSetting
    collect: CollectSetting
    api: ApiSetting
    smtp: SmtpSetting
    sender: dict[str, SenderSetting]
    server: ServerSetting = ServerSetting()

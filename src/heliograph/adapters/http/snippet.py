"""``GET /heliograph.js``, and the settings document that Segment's own browser library asks for at its start."""

from hashlib import blake2b
from importlib.resources import files

import msgspec

from heliograph.adapters.http.reply import CORS, JSON, Headers, Reply, Scope, not_allowed, problem

SOURCE = (files("heliograph.adapters.http") / "static" / "heliograph.js").read_bytes()
ETAG = b'"' + blake2b(SOURCE, digest_size=8).hexdigest().encode() + b'"'

_FRESH: Headers = (*CORS, (b"cache-control", b"public, max-age=300, stale-while-revalidate=86400"), (b"etag", ETAG))
_SCRIPT: Headers = (
    (b"content-type", b"text/javascript; charset=utf-8"),
    *_FRESH,
    (b"x-content-type-options", b"nosniff"),
)

SETTINGS_PREFIX = "/v1/projects/"
_SETTINGS_SUFFIX = "/settings"


def script(scope: Scope) -> Reply:
    """The snippet; 304 for those who have it."""
    if scope["method"] not in ("GET", "HEAD"):
        return not_allowed("GET", "HEAD")
    if dict(scope["headers"]).get(b"if-none-match") == ETAG:
        return Reply(304, b"", _FRESH)
    return Reply(200, SOURCE, _SCRIPT)


def library_settings(scope: Scope, write_keys: tuple[str, ...]) -> Reply:
    """``/v1/projects/KEY/settings``: with ``cdnURL`` set to this server, @segment/analytics-next needs nothing else."""
    path: str = scope["path"]
    key = path.removeprefix(SETTINGS_PREFIX).removesuffix(_SETTINGS_SUFFIX)
    if not path.endswith(_SETTINGS_SUFFIX) or key not in write_keys:
        return problem(404, "no settings here; the path is /v1/projects/WRITE_KEY/settings", headers=CORS)
    if scope["method"] not in ("GET", "HEAD"):
        return not_allowed("GET", "HEAD")
    headers = dict(scope["headers"])
    body = {
        "integrations": {
            "Segment.io": {
                "apiKey": key,
                "apiHost": headers.get(b"host", b"").decode("latin-1") + "/v1",
                "protocol": scope["scheme"],
                "unbundledIntegrations": [],
            }
        },
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}, "identify": {}, "group": {}},
        "metrics": {"sampleRate": 0},
        "remotePlugins": [],
        "analyticsNextEnabled": True,
    }
    return Reply(200, msgspec.json.encode(body), JSON + CORS)

"""Talking to a running server over HTTP, and saying in one sentence why that did not work."""

import http.client
import os
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import typer

from heliograph import config

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 60
MAX_TRIES = 8
"""Of one call that the server puts off (429, 503); with its Retry-After that is at least eight seconds."""
MAX_PAUSE_S = 30.0

ProjectOption = Annotated[Path, typer.Option("--project", "-p", help="The project folder: url and keys.")]
UrlOption = Annotated[str | None, typer.Option("--url", envvar="HELIOGRAPH_URL", help="The server.")]
TokenOption = Annotated[str | None, typer.Option("--token", envvar="HELIOGRAPH_API_TOKEN", help="Of the API.")]
WriteKeyOption = Annotated[
    str | None, typer.Option("--write-key", envvar="HELIOGRAPH_COLLECT_WRITE_KEY", help="For sending events.")
]


class ServerError(Exception):
    """The server is not there, or said no; the text is for the user.  ``problems``: (path, sentence) of a plan."""

    def __init__(self, message: str, status: int = 0, problems: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problems = problems or []


class Server:
    """One server, as a command sees it."""

    def __init__(self, url: str, token: str, write_key: str) -> None:
        self.url = (url if "://" in url else "http://" + url).rstrip("/")
        self._token, self._write_key = token, write_key
        local = config.is_loopback(urlsplit(self.url).hostname or "")
        # A proxy of the environment is for the world outside, not for this machine.
        handlers = [urllib.request.ProxyHandler({})] if local else []
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, **query: Any) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return self._api("GET", path + ("?" + urlencode(given) if given else ""), None)

    def post(self, path: str, body: Any) -> Any:
        return self._api("POST", path, body)

    def post_mail(self, path: str, raw: bytes) -> Any:
        """Post a mail as it is."""
        return self._api("POST", path, raw)

    def put(self, path: str, body: Any) -> Any:
        return self._api("PUT", path, body)

    def delete(self, path: str) -> Any:
        return self._api("DELETE", path, None)

    def lines(self, path: str, body: Any) -> Iterator[Any]:
        """The answer to a POST, line of JSON by line, as they come.  Closing it early tells the server."""
        with self._opened("POST", "/api" + path, body, "Bearer " + self._token) as response:
            try:
                yield from (msgspec.json.decode(line) for line in response if line.strip())
            except (OSError, http.client.HTTPException, msgspec.DecodeError):
                raise ServerError(f"{self.url} broke off in the middle of its answer; its log says why") from None

    def batch(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send events; the results in order."""
        basic = "Basic " + b64encode(f"{self._write_key}:".encode()).decode()
        answer = self._call("POST", "/v1/batch", {"batch": calls}, basic)
        results: list[dict[str, Any]] = answer.get("results", [])
        return results

    def _api(self, method: str, path: str, body: Any) -> Any:
        return self._call(method, "/api" + path, body, "Bearer " + self._token)

    def _call(self, method: str, path: str, body: Any, authorization: str) -> Any:
        for attempt in range(1, MAX_TRIES + 1):
            try:
                return self._once(method, path, body, authorization)
            except _Later as later:
                if attempt == MAX_TRIES:
                    raise ServerError(f"{self.url} stays busy: {later}") from None
                time.sleep(min(later.seconds, MAX_PAUSE_S))
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, body: Any, authorization: str) -> Any:
        try:
            with self._opened(method, path, body, authorization) as response:
                raw = response.read()
        except (OSError, ValueError) as error:
            raise ServerError(self._unreachable(error)) from None
        try:
            return msgspec.json.decode(raw) if raw else None
        except msgspec.DecodeError:
            raise ServerError(f"{self.url}{path} did not answer like a Heliograph server; is --url right?") from None

    def _opened(self, method: str, path: str, body: Any, authorization: str) -> http.client.HTTPResponse:
        raw = isinstance(body, bytes)
        data = body if raw or body is None else msgspec.json.encode(body)
        kind = "message/rfc822" if raw else "application/json"
        headers = {"Authorization": authorization, "Content-Type": kind, "Accept": "application/json"}
        try:
            request = urllib.request.Request(self.url + path, data, headers, method=method)
            response: http.client.HTTPResponse = self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            raise self._refusal(error, path) from None
        except urllib.error.URLError as error:
            raise ServerError(self._unreachable(error.reason)) from None
        except (OSError, ValueError) as error:
            raise ServerError(self._unreachable(error)) from None
        return response

    def _unreachable(self, reason: object) -> str:
        if isinstance(reason, ConnectionRefusedError):
            return (
                f"no server answers at {self.url}; start one with `heliograph serve` or `heliograph demo`, "
                "or name another with --url"
            )
        if isinstance(reason, TimeoutError):
            return f"{self.url} took longer than {TIMEOUT_S} s to answer"
        return f"cannot reach {self.url}: {reason}"

    def _refusal(self, error: urllib.error.HTTPError, path: str) -> Exception:
        """What an error answer means for the user."""
        problem = _problem(error)
        said = problem.get("detail") or problem.get("title") or problem.get("error") or error.reason
        if error.code in (429, 503) and (after := error.headers.get("Retry-After")):
            return _Later(str(said), after)
        if error.code in (401, 403) and path.startswith("/v1/"):
            return ServerError(f"{self.url} does not know this write key; give --write-key", error.code)
        if error.code in (401, 403):
            give = "give --project DIR, --token or HELIOGRAPH_API_TOKEN"
            return ServerError(f"{self.url} does not know this token; {give}", error.code)
        if error.code >= 500:
            return ServerError(f"{self.url} failed on {path} ({error.code} {said}); its log says more", error.code)
        if error.code == 404 and not problem:
            return ServerError(f"{self.url}{path} is not there; is --url a Heliograph server?", 404)
        problems = problem.get("problems")
        listed = [(str(one.get("path", "")), str(one.get("message", ""))) for one in problems or []]
        return ServerError(str(said), error.code, listed)


class _Later(Exception):
    def __init__(self, reason: str, retry_after: str) -> None:
        super().__init__(reason)
        self.seconds = float(retry_after) if retry_after.isdigit() else 1.0


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(error.read())
    except (msgspec.DecodeError, OSError):
        return {}
    return value if isinstance(value, dict) else {}


def server_for(project: Path, url: str | None, token: str | None, write_key: str | None = None) -> Server:
    """The server a command means: as its options say, else as the project says, else the demo on this machine."""
    raw = config.inspect(project, os.environ).raw if (project / config.FILE).is_file() else {}

    def written(section: str, key: str, otherwise: str) -> str:
        table = raw.get(section)
        value = table.get(key) if isinstance(table, dict) else None
        return str(value) if value is not None else otherwise

    if url is None and raw.get("server"):
        host = written("server", "host", "127.0.0.1")
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        url = f"http://{host}:{written('server', 'port', '8080')}"
    return Server(
        url or DEFAULT_URL,
        token or written("api", "token", config.DEMO_TOKEN),
        write_key or written("collect", "write_key", config.DEMO_WRITE_KEY),
    )


def segment(text: str) -> str:
    """Text as one step of a URL's path."""
    return quote(text, safe="")

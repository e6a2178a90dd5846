"""nginx and Caddy, as deploy/ sets them up, in front of a real server: TLS, HTTP/2, bounds, and who really calls."""

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from heliograph.adapters.rocksdb import RocksStore
from heliograph.events.limits import MAX_BATCH_BYTES
from tests.certificates import Authority
from tests.e2e.harness import ROOT, TOKEN, WRITE_KEY, Receiver, Server, shop, until
from tests.e2e.test_cart import Customer, added
from tests.ports import free_port

DEPLOY = ROOT / "deploy"
HOST = "mail.shop.example"
CALLER = "127.0.0.9"
"""Another address of this machine than the proxy's own."""
LIES = {"X-Forwarded-For": "203.0.113.66", "X-Forwarded-Proto": "http", "Forwarded": "for=203.0.113.67;proto=http"}
KEY = {
    "authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode(),
    "content-type": "application/json",
}


class Front(NamedTuple):
    """A proxy that runs: its ports for TLS and without, and what trusts its certificate."""

    tls: int
    plain: int
    context: ssl.SSLContext
    server: Server
    receiver: Receiver

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.tls, timeout=30)
        plain = socket.create_connection(("127.0.0.1", self.tls), 30, source_address=(CALLER, 0))
        connection.sock = self.context.wrap_socket(plain, server_hostname=HOST)
        return _answer(connection, method, path, body, headers)

    def unprotected(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        return _answer(http.client.HTTPConnection("127.0.0.1", self.plain, timeout=30), method, path, body, {})


def _answer(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    try:
        connection.request(method, path, body, {"Host": HOST, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def put(text: str, *words: tuple[str, object]) -> str:
    """The file as somebody would change it; a word that is not there is a mistake of this test."""
    for word, value in words:
        assert word in text, f"there is no {word!r} in the file"
        text = text.replace(word, str(value))
    return text


def program(name: str) -> str:
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"no {name} here: sh scripts/proxies.sh")
    return found


def nginx(folder: Path, certificate: Path, upstream: int, tls: int, plain: int) -> list[list[str]]:
    """nginx with our file and nothing else of ours."""
    (folder / "heliograph.conf").write_text(
        put(
            (DEPLOY / "nginx/heliograph.conf").read_text(),
            ("/etc/letsencrypt/live/mail.shop.example/fullchain.pem", certificate),
            ("/etc/letsencrypt/live/mail.shop.example/privkey.pem", certificate),
            ("server 127.0.0.1:8080;", f"server 127.0.0.1:{upstream};"),
            ("listen 443 ", f"listen 127.0.0.1:{tls} "),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("/var/log/nginx/heliograph.log", folder / "access.log"),
        )
    )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}pid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n{temporary}include {folder}/heliograph.conf;\n}}\n"
    )
    command = [program("nginx"), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    return [[*command, "-t"], [*command, "-g", "daemon off;"]]


def caddy(folder: Path, certificate: Path, upstream: int, tls: int, plain: int) -> list[list[str]]:
    """Caddy with a certificate of ours instead of one from the world."""
    own = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\thttps_port {tls}\n\thttp_port {plain}\n"
    (folder / "Caddyfile").write_text(
        put(
            (DEPLOY / "caddy/Caddyfile").read_text(),
            ("{\n\temail postmaster@shop.example\n", own),
            ("{$UPSTREAM:127.0.0.1:8080}", f"127.0.0.1:{upstream}"),
            ("\tencode gzip\n", f"\ttls {certificate} {certificate}\n\tencode gzip\n"),
        )
    )
    words = ["--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    return [[program("caddy"), "validate", *words], [program("caddy"), "run", *words]]


@pytest.fixture(scope="module", params=[nginx, caddy])
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    write: Callable[..., list[list[str]]] = request.param
    folder = tmp_path_factory.mktemp(write.__name__)
    authority = Authority(folder)
    tls, plain = free_port(), free_port()
    environment = {"HELIOGRAPH_SERVER_TRUSTED_PROXIES": "127.0.0.1/32", "HELIOGRAPH_PROJECT_TIME_SCALE": "3600"}
    with Receiver() as receiver, shop(folder, receiver, **environment) as server:
        check, run = write(folder, authority.issue(HOST), server.port, tls, plain)
        home = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        checked = subprocess.run(check, env=home, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        with (folder / "proxy.log").open("wb") as log:
            process = subprocess.Popen(run, env=home, stdout=log, stderr=log)
        try:
            until(lambda: _listens(tls) and _listens(plain), f"{write.__name__} listens; its log: {folder}/proxy.log")
            yield Front(tls, plain, authority.trusted(), server, receiver)
        finally:
            process.terminate()
            process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def batch(*calls: dict[str, Any]) -> bytes:
    return json.dumps({"batch": list(calls)}).encode()


def test_it_speaks_http2_under_its_own_name(front: Front) -> None:
    front.context.set_alpn_protocols(["h2", "http/1.1"])
    plain = socket.create_connection(("127.0.0.1", front.tls))
    with front.context.wrap_socket(plain, server_hostname=HOST) as secure:
        assert secure.selected_alpn_protocol() == "h2"
    front.context.set_alpn_protocols(["http/1.1"])


def test_a_call_arrives_and_its_caller_is_who_called_and_nobody_he_names(front: Front) -> None:
    """The proof of an unsubscribe names the address that the link was followed from: not the proxy's, nor a lie."""
    customer = Customer()
    status, said = front.call(
        "POST", "/v1/batch", batch(customer.identify(), customer.known(added("p1"))), **KEY, **LIES
    )
    assert (status, [one["status"] for one in json.loads(said)["results"]]) == (200, ["accepted", "accepted"])
    (mail,) = until(lambda: front.receiver.to(customer.address), "the reminder arrives")
    path = urlsplit(str(mail["list-unsubscribe"]).strip("<>")).path
    form = {"content-type": "application/x-www-form-urlencoded"}
    status, _ = front.call("POST", path, b"List-Unsubscribe=One-Click", **form, **LIES)
    assert status == 200
    assert [proof.rpartition(" from ")[2] for proof in withdrawals(front.server, customer.address)] == [CALLER]


def withdrawals(server: Server, address: str) -> list[str]:
    """What proves each, from the server's own ledger."""
    server.stop()
    store = RocksStore(server.data)
    try:
        return [row.proof for row in store.ledger(address) if not row.given]
    finally:
        store.close()
        server.start()


@pytest.mark.parametrize(
    ("size", "said"),
    [(MAX_BATCH_BYTES - 100, None), (MAX_BATCH_BYTES + 100, b"512,000 bytes"), (700_000, b"")],
    ids=["as large as it may be", "refused by us", "refused at the door"],
)
def test_what_is_too_large_is_413(front: Front, size: int, said: bytes | None) -> None:
    body = batch(Customer().identify())
    status, answer = front.call("POST", "/v1/batch", body[:-1] + b" " * (size - len(body)) + body[-1:], **KEY)
    assert status == (200 if said is None else 413)
    assert (said or b"") in answer


def test_a_plan_may_be_larger(front: Front) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    status, _ = front.call(
        "POST", "/api/plan", b'{"dry_run": true, "document": "' + b"x" * 2_000_000 + b'"}', **headers
    )
    assert status in (400, 422), "the proxy let it through, and it is no plan"


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_what_is_for_the_machines_behind_is_not_for_the_world(front: Front, path: str) -> None:
    assert front.call("GET", path)[0] == 404


def test_without_tls_a_program_is_refused_and_a_person_sent_on(front: Front) -> None:
    assert front.unprotected("POST", "/v1/track", b"{}")[0] == 400
    assert front.unprotected("GET", "/p/x")[0] == 308


def test_a_server_that_is_away_is_a_5xx_so_that_libraries_try_again(front: Front) -> None:
    front.server.stop()
    try:
        assert front.call("POST", "/v1/batch", batch(Customer().identify()), **KEY)[0] in (502, 503)
    finally:
        front.server.start()
    assert front.call("POST", "/v1/batch", batch(Customer().identify()), **KEY)[0] == 200

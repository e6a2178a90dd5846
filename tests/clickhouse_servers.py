"""ClickHouse's HTTP interface in front of the real engine (chDB), in a process of its own: no server binary can be had
here.  The client, its bytes and the engine are the real ones; what stands between them is this file.
"""

import atexit
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from heliograph.adapters.clickhouse import Place
from tests.ports import free_port

OF_TRANSPORT = {
    "query", "database", "client_protocol_version", "query_id", "session_id", "enable_http_compression",
    "wait_end_of_query", "send_progress_in_http_headers", "http_headers_progress_interval_ms", "buffer_size",
}  # fmt: skip
INSERT = re.compile(rb"\s*INSERT INTO [^\n]*? FORMAT Native\s*\n", re.DOTALL)
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$")
CODE = re.compile(r"Code: (\d+)")


class ChdbServer:
    """Serves while the ``with`` lasts; then it is killed, as by ``kill -9``.  What it has stays in the folder."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder, self.port = folder, port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "ChdbServer":
        command = [sys.executable, "-m", "tests.clickhouse_servers", str(self.folder), str(self.port)]
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as line:
                if line.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise RuntimeError("the engine behind HTTP did not start")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="heliograph-chdb-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def in_this_process(name: str) -> Place:
    """A database of this name in the one folder that this process opens: the engine takes no second one."""
    return Place(path=_folder(), database="t" + blake2b(name.encode(), digest_size=8).hexdigest())


def serve(folder: str, port: int) -> None:
    import chdb
    from clickhouse_connect.driver._backend.chdb_backend import _decompress

    keep = chdb.connect(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            options = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
            body = self._body()
            if encoding := self.headers.get("Content-Encoding"):
                body = _decompress(body, encoding)
            try:
                format, answer = self._run(options, body)
            except Exception as error:
                code = CODE.search(str(error))
                self._answer(500, str(error).encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "1"})
            else:
                self._answer(200, answer, {"X-ClickHouse-Format": format} if answer else {})

        do_GET = do_POST

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _run(self, options: dict[str, str], body: bytes) -> tuple[str, bytes]:
            whole = options.get("query", "").encode() + (b"\n" if options.get("query") and body else b"") + body
            params = {name[6:]: value for name, value in options.items() if name.startswith("param_")}
            handle = chdb.connect(folder)
            try:
                if database := options.get("database"):
                    handle.query(f"USE `{database}`")
                for name, value in sorted(options.items(), key=lambda one: one[0] == "readonly"):
                    if name not in OF_TRANSPORT and not name.startswith("param_"):
                        handle.query(f"SET {name} = '{value}'")
                if (insert := INSERT.match(whole)) is not None:
                    return "Native", self._insert(handle, insert[0].decode(), whole[insert.end() :])
                sql = whole.decode()
                named = FORMAT.search(sql)
                format = named[1] if named else "TabSeparated"
                return format, bytes(handle.query(sql, format, params=params).bytes() or b"")
            finally:
                handle.close()

        @staticmethod
        def _insert(handle: Any, insert: str, rows: bytes) -> bytes:
            with tempfile.NamedTemporaryFile(suffix=".native") as file:
                file.write(rows)
                file.flush()
                handle.query(insert.replace("FORMAT Native", f"FROM INFILE '{file.name}' FORMAT Native"))
            return b""

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "X-ClickHouse-Timezone": "UTC", "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
    keep.close()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))

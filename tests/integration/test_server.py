"""The whole server inside one test: HTTP in, SMTP out, and its end."""

import asyncio
import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from heliograph import bootstrap, config
from heliograph.measure.metrics import METRICS
from heliograph.ports import StoreLocked
from tests.integration.test_kill9 import KEY, TOKEN, Receiver, write_project
from tests.runtime.harness import until


def fetch(server: bootstrap.Server, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"authorization": f"Bearer {TOKEN}", **headers})
    with urllib.request.urlopen(request) as answer:
        return answer.status, answer.read()


async def call(server: bootstrap.Server, path: str, body: Any = None) -> Any:
    status, raw = await asyncio.to_thread(fetch, server, path, body, **{"content-type": "application/json"})
    assert status == 200
    return json.loads(raw)


def order(name: str) -> dict[str, Any]:
    return {"writeKey": KEY, "batch": [{"type": "track", "event": "Order Completed", "userId": name, "messageId": name,
            "properties": {"order_id": name}, "context": {"traits": {"email": f"{name}@x.test"}}}]}  # fmt: skip


def settings_for(tmp_path: Path, receiver: Receiver) -> tuple[Path, config.Settings]:
    project = write_project(tmp_path / "project", receiver.port)
    return project, config.load(project, {}, port=0)


async def test_an_order_becomes_a_mail_and_a_metric(tmp_path: Path) -> None:
    receiver = Receiver()
    async with await receiver.listen():
        project, settings = settings_for(tmp_path, receiver)
        document = bootstrap.document_of(project)
        async with bootstrap.running(settings, data=tmp_path / "data", document=document) as server:
            answer = await call(server, "/v1/batch", order("ann"))
            assert answer["results"][0]["status"] == "accepted"
            await until(lambda: receiver.got["ann@x.test"])
            await until(lambda: [row.status for row in server.engine.store.messages()[0]] == ["sent"])
            sent = b'heliograph_messages_total{status="sent"} 1.0'
            await until(lambda: sent in generate_latest(server.engine.meter.registry))  # counted after the commit
            _, metrics = await asyncio.to_thread(fetch, server, "/metrics")
            assert sent in metrics
            assert b'heliograph_events_total{status="accepted"} 1.0' in metrics
            assert b'heliograph_door_total{status="accepted"} 1.0' in metrics
            for name in METRICS:
                assert name.encode() in metrics, name


async def test_a_killed_mailer_is_replaced(tmp_path: Path) -> None:
    receiver = Receiver()
    async with await receiver.listen():
        project, settings = settings_for(tmp_path, receiver)
        document = bootstrap.document_of(project)
        async with bootstrap.running(settings, data=None, document=document) as server:
            await until(lambda: server.engine.dispatcher.mailers)
            (pid,) = server.supervisor.pids
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not server.engine.dispatcher.mailers)
            await call(server, "/v1/batch", order("bob"))
            await until(lambda: receiver.got["bob@x.test"])


async def test_a_second_server_on_the_same_folder_says_so(tmp_path: Path) -> None:
    receiver = Receiver()
    async with await receiver.listen():
        project, settings = settings_for(tmp_path, receiver)
        document = bootstrap.document_of(project)
        async with bootstrap.running(settings, data=tmp_path / "data", document=document):
            with pytest.raises(StoreLocked):
                async with bootstrap.running(settings, data=tmp_path / "data", document=document):
                    pass

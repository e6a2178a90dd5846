"""The whole server without a relay: straight to receivers that DNS names, and over several relays."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from heliograph import bootstrap, config
from heliograph.adapters.smtp.policies import Known, Policies
from heliograph.bootstrap.mail import POLICIES
from heliograph.deliver.mta_sts import Policy
from tests.integration.test_kill9 import write_project
from tests.integration.test_server import call, order
from tests.mail_world import World, world
from tests.runtime.harness import until
from tests.smtp_servers import Receiver, listening


@pytest_asyncio.fixture
async def net(tmp_path: Path) -> AsyncIterator[World]:
    folder = tmp_path / "net"
    folder.mkdir()
    async with world(folder) as made:
        yield made


def settings_for(tmp_path: Path, **variables: str) -> tuple[Path, config.Settings]:
    project = write_project(tmp_path / "project", 1)
    return project, config.load(project, {f"HELIOGRAPH_{key}": value for key, value in variables.items()}, port=0)


def straight(net: World) -> dict[str, str]:
    return {
        "SMTP_URL": "mx:",
        "DIRECT_PORT": str(net.port),
        "DIRECT_NAMESERVERS": f'["{net.zone.nameserver}"]',
        "DIRECT_PRIVATE_NETWORKS": '["127.0.0.0/8"]',
        "DIRECT_CA_FILE": str(net.authority.file),
        "DIRECT_EHLO": "mail.shop.test",
    }


def statuses(server: bootstrap.Server) -> dict[str, tuple[str, str]]:
    return {row.address: (row.status, row.reason) for row in server.engine.store.messages()[0]}


async def send_test(server: bootstrap.Server, to: str) -> dict[str, Any]:
    answer: dict[str, Any] = await call(server, "/api/templates/note/send-test", {"to": to, "profile": "ann"})
    return answer


async def test_mail_goes_to_the_servers_of_each_domain_and_says_why_it_does_not(net: World, tmp_path: Path) -> None:
    """One domain takes it, one has no name, one no DNS, and one an enforced policy and a wrong certificate: that one
    waits, and its server is given nothing."""
    good = await net.server("mx.good.test", Receiver(tls=net.certified("mx.good.test")))
    wrong = await net.server("mx.strict.test", Receiver(tls=net.certified("other.test")))
    net.mx("x.test", "10 mx.good.test.")
    net.mx("strict.test", "10 mx.strict.test.")
    net.zone.broken.add("broken.test")
    project, settings = settings_for(tmp_path, **straight(net))
    data = tmp_path / "data"
    remember(data, "strict.test", Policy("enforce", 86400, ("mx.strict.test",)))
    async with bootstrap.running(settings, data=data, document=bootstrap.document_of(project)) as server:
        for address in ("ann@x.test", "bob@strict.test", "cid@nowhere.test", "dan@broken.test"):
            body = order(address.partition("@")[0])
            body["batch"][0]["context"]["traits"]["email"] = address
            await call(server, "/v1/batch", body)
        passing = (("queued", ""), ("sending", ""))
        await until(lambda: len([one for one in statuses(server).values() if one not in passing]) == 4)
        said = statuses(server)
        assert said["ann@x.test"][0] == "sent"
        assert said["bob@strict.test"][0] == "queued"
        assert "the MTA-STS policy of strict.test is enforced" in said["bob@strict.test"][1]
        assert said["cid@nowhere.test"] == ("bounced", "5.1.2 there is no domain nowhere.test")
        assert said["dan@broken.test"] == ("queued", "4.4.3 DNS gives no answer about broken.test")
        trial = await send_test(server, "eve@x.test")
        assert trial["ok"]
        assert trial["verdict"].startswith(f"mx.good.test:{net.port} (TLSv1.3, certificate not verified) accepted")
        trial = await send_test(server, "eve@nowhere.test")
        assert trial == {"ok": False, "verdict": "5.1.2 there is no domain nowhere.test"}
    assert [mail.recipients for mail in good.accepted] == [["ann@x.test"], ["eve@x.test"]]
    assert not wrong.mails and not any(command.startswith("MAIL") for command in wrong.commands)
    assert "EHLO mail.shop.test" in good.commands


def remember(data: Path, domain: str, policy: Policy) -> None:
    """As a mailer left it: policy hosts are asked at port 443, which a test has not."""
    policies = Policies(None, None, data / POLICIES)  # type: ignore[arg-type]
    policies._write(Known(domain, "1", policies._now(), policy))


async def test_a_trial_takes_the_next_relay_and_says_what_became_of_the_first(tmp_path: Path) -> None:
    async with listening(Receiver()) as gone:
        pass
    async with listening(Receiver()) as works:
        project = write_project(tmp_path / "project", gone.port)
        toml = project / "heliograph.toml"
        toml.write_text(toml.read_text() + f'\n[relay.backup]\nurl = "{works.url}"\n')
        settings = config.load(project, {}, port=0)
        document = bootstrap.document_of(project)
        async with bootstrap.running(settings, data=None, document=document) as server:
            await call(server, "/v1/batch", order("ann"))
            trial = await send_test(server, "eve@x.test")
            assert trial["ok"]
            first, second = trial["verdict"].split("; ")
            assert "nothing listens there" in first
            assert second.startswith(f"127.0.0.1:{works.port} (no TLS) accepted the message")
            await until(lambda: len(works.accepted) == 2)
            await asyncio.sleep(0)

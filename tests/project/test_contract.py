"""Every example of the contract parses, or is refused by the name of what is not in this version."""

from pathlib import Path

import pytest

from heliograph.decide.policies import KEYS
from heliograph.project import check_project, init_project

from .test_broken import write_project

CONDITIONS = """\
trait: {path: country, is: DE}
did: {event: Product Viewed, where: {properties.product_id: sku-1}, at_least: 2, within: PT10M}
did: {event: Product Viewed, same: properties.product_id, at_least: 3, within: P1D}
not: {did: {event: Order Completed, within: PT10M}}
in_segment: buyers
in_topic: offers
everyone: true
trait: {path: 'a\\.b.c', in: [1, x, true]}
trait: {path: '*.sku', is_not: null}
trait: {path: renewal_at, within: P7D}
trait: {path: renewal_at, within: -P7D}
trait: {path: renewal_at, before: 2026-01-31, after: "2025-01-31T00:00:00Z"}
trait: {path: name, contains: ann, ignore_case: true}
trait: {path: zip, matches: "^[0-9]{5}$"}
did: {event: Page Viewed, where: {properties.name: Home, context.page.path: {starts_with: /shop}}}
did: {event: Identified, where: {traits.plan: pro}}
did: {event: Email Opened, exactly: 0, within: P30D}
did: {event: Segment Entered, between: [1, 3]}
did_sum: {event: Order Completed, property: properties.total, gte: 100, within: P30D}
did_avg: {event: Order Completed, property: properties.total, gte: 100}
did_min: {event: Order Completed, property: properties.total, gte: 100}
did_max: {event: Order Completed, property: properties.total, gte: 100}
did_distinct: {event: Order Completed, property: properties.total, gte: 100}
sequence: {events: [{event: Product Viewed}, {event: Product Added}], within: PT1H}
near: {lat: 51.45, lon: -2.59, radius_m: 500, within: PT1H}
engaged: {kind: clicked, within: P90D}
bucket: {salt: rollout, below: 10%}
"""
LATER_CONDITIONS = """\
near: {geofence: harbour}
"""
JOURNEY = """\
name: cart-recovery
topic: offers
priority: 50
entry:
  event: Product Added
  where: {properties.price: {gt: 0}}
  key: properties.cart_id
  on_repeat: restart
  if: {not: {in_segment: staff}}
  reentry: {after: P1D}
exit:
  - {event: Order Completed}
  - {if: {in_segment: buyers}}
  - {event: Order Completed, match: properties.cart_id}
  - {event: Order Completed, match: {event: properties.cart, entry: properties.cart_id}}
goal: {event: Order Completed, within: P3D, value: properties.total}
holdout: 5%
on_edit: pin
steps:
  - wait: PT30M
  - wait: {for: PT1H, from: event}
  - wait: {until: {time: "09:00", days: [mon, tue], timezone: person}}
  - send: cart-reminder
    id: first
    on_failure: continue
  - wait_until:
      any: [{event: Email Clicked, then: continue}, {if: {in_segment: buyers}, then: exit}]
      timeout: P1D
      else: exit
  - branch:
      - {if: {trait: {path: vip, is: true}}, then: [{send: cart-vip}]}
      - {else: continue}
  - exit: true
"""
STEPS = """\
{split: {arms: {plain: {weight: 50, then: [{send: cart-vip}]}, coupon: {weight: 50, then: continue}}}, id: incentive}
update: {traits: {last_cart_at: "{{ run.entered_at }}"}}
emit: {event: Cart Lost, properties: {cart_id: "{{ event.properties.cart_id }}"}}
webhook: {url: "https://crm.example", method: POST, json: {id: "{{ profile.id }}"}, as: crm, timeout: PT5S, else: exit}
window: {from: "08:00", to: "20:00", days: [mon, tue, wed, thu, fri], timezone: person}
wait: {date: renewal_at, offset: -P3D, grace: PT1H}
{wait: P1D, id: first}
goto: first
{send: cart-reminder, on_failure: {goto: first}}
"""
ENTRIES = """\
{schedule: "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", start: 2026-11-02T09:00, timezone: project}
{api: true, key: properties.cart_id}
"""
BASE = {
    "segments/staff.yaml": "name: staff\nif: {everyone: true}\n",
    "templates/cart-reminder/message.yaml": (
        'subject: "{{ profile.firstName | default: \'Hello\' }}, your basket is waiting"\npreheader: "..."\n'
        "sender: default\nclass: marketing\nfreshness: PT6H\non_unknown: hold\n"
    ),
    "templates/cart-reminder/body.html": "<a href='{{ urls.unsubscribe }}'>No more</a>",
    "templates/cart-vip/message.yaml": "subject: VIP\n",
    "templates/cart-vip/body.html": "<a href='{{ urls.unsubscribe }}'>No more</a>",
    "schemas/identify.json": '{"properties": {"firstName": {"type": "string"}}}',
}


def findings(root: Path, files: dict[str, str]) -> list[str]:
    write_project(root, {**BASE, **files})
    return [str(finding) for finding in check_project(root, {}).findings]


@pytest.mark.parametrize("condition", CONDITIONS.splitlines())
def test_a_condition_of_the_contract_parses(condition: str, tmp_path: Path) -> None:
    assert findings(tmp_path, {"segments/x.yaml": f"name: x\nif:\n  all:\n    - {condition}\n"}) == []


@pytest.mark.parametrize("condition", LATER_CONDITIONS.splitlines())
def test_a_later_condition_is_refused_by_name(condition: str, tmp_path: Path) -> None:
    said = findings(tmp_path, {"segments/x.yaml": f"name: x\nif:\n  {condition}\n"})
    assert said == ["segments/x.yaml:3: `geofence` is not in this version"]


def test_the_journey_of_the_contract_parses(tmp_path: Path) -> None:
    assert findings(tmp_path, {"journeys/cart-recovery.yaml": JOURNEY}) == []


@pytest.mark.parametrize("step", STEPS.splitlines())
def test_a_step_of_the_contract_parses(step: str, tmp_path: Path) -> None:
    name = "zero" if "id: first" in step else "first"
    text = f"name: x\nentry: {{event: A}}\nsteps:\n  - {{wait: P1D, id: {name}}}\n  - {step}\n"
    text += "" if step.startswith("goto") else "  - send: cart-reminder\n    id: last-one\n"
    errors = [said for said in findings(tmp_path, {"journeys/x.yaml": text}) if "warning" not in said]
    assert errors == []


@pytest.mark.parametrize("entry", ENTRIES.splitlines())
def test_an_entry_of_the_contract_parses(entry: str, tmp_path: Path) -> None:
    text = f"name: x\nentry: {entry}\nsteps: [{{send: cart-reminder}}]\n"
    assert findings(tmp_path, {"journeys/x.yaml": text}) == []


def test_a_later_step_is_refused_by_name(tmp_path: Path) -> None:
    text = "name: x\nentry: {event: A}\nsteps:\n  - coupon: {pool: TENOFF, as: code, else: continue}\n"
    assert findings(tmp_path, {"journeys/x.yaml": text}) == ["journeys/x.yaml:4: `coupon` is not in this version"]


def test_a_later_entry_is_refused_by_name(tmp_path: Path) -> None:
    text = "name: x\nentry: {item: {catalog: shop}}\nsteps: [{send: cart-vip}]\n"
    assert findings(tmp_path, {"journeys/x.yaml": text}) == ["journeys/x.yaml:2: `item` is not in this version"]


def test_the_policies_of_the_contract_parse(tmp_path: Path) -> None:
    text = """topics: {offers: {consent: required}, news: {consent: assumed}}
caps: [{max: 3, per: P7D, topics: [offers, news], when_exceeded: defer, defer_for: P2D}]
quiet_hours: {from: "21:00", to: "08:00", timezone: person}
act_within: PT1H
allowed_lateness: P3D
arbitrate: PT5M
global_holdout: 0%
"""
    assert findings(tmp_path, {"policies.yaml": text}) == []


def test_the_settings_of_the_contract_parse(tmp_path: Path) -> None:
    toml = """[project]
name = "shop"
timezone = "Europe/London"
base_url = "http://127.0.0.1:8080"
time_scale = 1
[server]
host = "127.0.0.1"
port = 8080
[collect]
write_key = "..."
rate_limit = "2000/s"
[api]
token = "..."
[smtp]
url = "smtp://user:pass%40word@127.0.0.1:1025?starttls=optional"
[sender.default]
from = "Gift Shop <hello@shop.example>"
reply_to = "care@shop.example"
postal_address = "1 Quay Street, Bristol BS1 4DJ, UK"
dkim = [
  { domain = "shop.example", selector = "s1", key_file = "dkim-rsa.pem" },
  { domain = "shop.example", selector = "s2", key_file = "dkim-ed25519.pem" },
]
"""
    keys = {"dkim-rsa.pem": "", "dkim-ed25519.pem": ""}
    assert findings(tmp_path, {"heliograph.toml": toml, **keys}) == []


def test_slashes_in_event_names_are_written_as_percent_2f(tmp_path: Path) -> None:
    write_project(tmp_path, {"schemas/Trial%2FStarted.json": "{}"})
    assert "Trial/Started" in check_project(tmp_path, {}).document["schemas"]


def test_every_policy_that_the_starter_leaves_out_can_be_switched_on(tmp_path: Path) -> None:
    init_project(tmp_path)
    policies = tmp_path / "policies.yaml"
    words = ("caps:", "  - {max", "arbitrate:", "quiet_hours:", "global_holdout:")
    lines = [line.removeprefix("# ") for line in policies.read_text().splitlines()]
    on = [line for line in lines if line.startswith((*words, "topics:", "  news", "  offers"))]
    policies.write_text("\n".join(on) + "\n")
    report = check_project(tmp_path, {})
    assert report.ok and not report.findings, report.findings
    assert KEYS - {"act_within", "allowed_lateness"} == {line.partition(":")[0] for line in on if line[0] != " "}

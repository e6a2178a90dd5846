"""Traffic: what the engine knows of receivers, senders and relays, and what it lets through.

The rules are pure and in ``deliver`` (``shaping``, ``rates``, ``warmup``, ``relays``, ``receivers``); this keeps their
state, one of each, puts messages into lanes, hears what mailers report, and writes down what a restart must not forget:
counters of days and warm-up go into the very commit that passes the commit point, so they are never behind what was
sent.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from heliograph.deliver import rates
from heliograph.deliver.limits import Shaping
from heliograph.deliver.rates import OWN
from heliograph.deliver.receivers import Receivers
from heliograph.deliver.relays import Relay, Ways
from heliograph.deliver.replies import SESSION_FAULTS, parse
from heliograph.deliver.routes import DIRECT
from heliograph.deliver.shaping import ON_A_CONNECTION, SLOW_MS, STALLED_MS, UNBOUND, Towards
from heliograph.deliver.warmup import TALLIED
from heliograph.ports import MessageRow
from heliograph.runtime import traffic_kept
from heliograph.runtime.lanes import BROADCAST, RANKS, Gate, Lane, Lanes, Sender
from heliograph.runtime.mailwire import Done
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.slow import Slow
from heliograph.runtime.traffic_parts import (
    Division,
    SenderTraffic,
    division,
    make_relay,
    part_of,
    why_receiver,
    why_ways,
)
from heliograph.runtime.traffic_shared import SharedCounters

KEPT: Final = 20_000
"""Receivers and lanes in memory, some 500 bytes each; when there are more, those without traffic are forgotten."""
CONNECTIONS: Final = 32
"""To a receiver without a limit, straight (KumoMTA's default ``connection_limit``)."""
REACHED: Final = frozenset({"sent", "bounced", "retry"})
"""Kinds of reports with a reply in them."""
NO_DAYS: Final = (0, 0)
"""Nobody counts."""
NOT_GONE: Final = frozenset({"stopped", "skipped", "missed"})
"""Kinds of reports of messages that never left."""


class Traffic:
    """``shaping``: the settings; ``rank``: whom a message overtakes (:data:`~heliograph.runtime.lanes.RANKS`);
    ``sender``: who it is from; ``kept``: values that earlier processes wrote.  ``moved`` is called with each lane
    whose receiver has turned out to be part of another; ``ask`` with each domain whose MX nobody knows; ``told`` with
    each sender in warm-up and what its mail came to.  ``sharing``: what other machines send counts, too, and
    connections are divided among them."""

    def __init__(
        self,
        shaping: Shaping | None = None,
        *,
        rank: Callable[[MessageRow], int],
        sender: Callable[[MessageRow], str],
        kept: traffic_kept.Read = lambda _name: (),
        sharing: Sharing | None = None,
    ) -> None:
        self.shaping = shaping or Shaping()
        self._rank, self._sender, self._sharing = rank, sender, sharing
        self.division = Division()
        """Of connections, among machines."""
        self._counters = OWN if sharing is None else SharedCounters(sharing)
        self._alike: dict[tuple[str, str, bool, str], Lane] = {}
        """Messages of one journey, template and domain go into one lane: it is found once."""
        self.receivers = Receivers(self.shaping.receivers, direct=self.shaping.direct)
        self.lanes = Lanes(self.closed)
        self.moved: Callable[[Lane], None] = lambda _lane: None
        self.ask: Callable[[str], None] = lambda _domain: None
        self.told: Callable[[str, str], None] = lambda _sender, _what: None
        self.slow = Slow(self.shaping)
        self._towards: dict[str, tuple[Towards, Gate]] = {}
        self._by_domain: dict[str, tuple[Towards, Gate]] = {}
        self._lanes: dict[tuple[int, Towards, str], Lane] = {}
        self._most_lanes = KEPT
        self._relays = {
            name: make_relay(name, limits, self.shaping, self._counters) for name, limits in self.shaping.relays.items()
        }
        self._ways: dict[tuple[str, ...], tuple[Ways, Gate]] = {}
        self._limits = {
            name: SenderTraffic(name, limits, self._counters) for name, limits in self.shaping.senders.items()
        }
        self._senders: dict[str, Sender] = {}
        self._counted = bool(self._limits) and any(one.limited for one in self._limits.values())
        self._counted = self._counted or any(relay.days.limit or relay.pace for relay in self._relays.values())
        """There are counters to write down."""
        self._dirty = {traffic_kept.COUNTERS: False, traffic_kept.RECEIVERS: False}
        traffic_kept.load(self, kept)
        if sharing is not None:
            self.undone()  # what was taken over is this machine's own now

    # -- lanes --

    def lane(self, row: MessageRow) -> Lane:
        """Where this message waits."""
        address = row.address
        alike = (row.journey, row.template, row.transactional, address[address.rfind("@") + 1 :])
        return self._alike.get(alike) or self._find_lane(alike, row)

    def _find_lane(self, alike: tuple[str, str, bool, str], row: MessageRow) -> Lane:
        if len(self._alike) >= KEPT:
            self._alike.clear()
        rank, sender, found = self._rank(row), self._sender(row), self._find(alike[3])
        key = (rank, found[0], sender)
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= self._most_lanes:
                self._forget()
            lane = self._lanes[key] = Lane(rank, *found, self._senders.get(sender) or self._meet(sender))
        self._alike[alike] = lane
        return lane

    def plan_changed(self) -> None:
        """Templates may name other senders."""
        self._alike.clear()

    def _find(self, domain: str) -> tuple[Towards, Gate]:
        if (known := self._by_domain.get(domain)) is not None:
            return known
        if len(self._by_domain) >= KEPT:
            self._by_domain.clear()
        if self.shaping.rollup and self.receivers.unknown(domain):
            self.ask(domain)
        found = self._by_domain[domain] = self._receiver(self.receivers.of(domain))
        return found

    def _receiver(self, name: str) -> tuple[Towards, Gate]:
        found = self._towards.get(name)
        if found is None:
            limits = self.receivers.limits(name)
            most = self._most(limits.connection_limit)
            rate = rates.parse(limits.max_message_rate)
            towards = Towards(name, most=most, rate=rate, counters=self._counters)
            gate = Gate(lambda _rank, now: towards.opens(now), lambda: why_receiver(towards))
            found = self._towards[name] = (towards, gate)
        return found

    def _most(self, connection_limit: int) -> int:
        if connection_limit:
            return ON_A_CONNECTION * self.division.connections(connection_limit)
        return ON_A_CONNECTION * max(CONNECTIONS // self.division.machines, 1) if self.shaping.direct else UNBOUND

    # -- what other machines leave --

    def granted(self, names: Iterable[str], now: int) -> None:
        """Something may go that waited for a permit of these names (``receiver:NAME``, ``sender:NAME``,
        ``relay:NAME``, and more behind another colon)."""
        for name in names:
            kind, _, whose = name.partition(":")
            for gate in self._gates(kind, whose):
                self.lanes.stir(gate, now)

    def _gates(self, kind: str, whose: str) -> list[Gate]:
        if kind == "receiver":
            return [self._towards[whose][1]] if whose in self._towards else []
        if kind == "relay":
            return [gate for _, gate in self._ways.values()]
        gates = (one.gate for name, one in self._senders.items() if whose.startswith(name))
        return [gate for gate in gates if gate is not None]

    def divide(self, now: int) -> bool:
        """Take this machine's part of connections; whether it is another than before."""
        found = Division() if self._sharing is None else division(*self._sharing.place, now)
        if found == self.division:
            return False
        self.division = found
        for name, (towards, gate) in self._towards.items():
            towards.bound(self._most(self.receivers.limits(name).connection_limit))
            self.lanes.stir(gate, now)
        return True

    def _meet(self, name: str) -> Sender:
        traffic = self._limits.get(name)
        gate = Gate(traffic.opens, traffic.why) if traffic is not None and traffic.limited else None
        limits = self.shaping.senders.get(name)
        named = tuple(relay for relay in (limits.relays if limits else ()) if relay in self._relays)
        ways, ways_gate = self._ways_of(named or tuple(self._relays))
        sender = self._senders[name] = Sender(name, ways, ways_gate, gate)
        return sender

    def _ways_of(self, names: tuple[str, ...]) -> tuple[Ways, Gate]:
        found = self._ways.get(names)
        if found is None:
            ways = Ways([self._relays[name] for name in names])
            gate = Gate(lambda rank, now: ways.opens(now, patient=rank == BROADCAST), lambda: why_ways(ways))
            found = self._ways[names] = (ways, gate)
        return found

    def _forget(self) -> None:
        """Lanes without messages, and receivers without lanes or news."""
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.held or lane.state}
        used = {lane.receiver for lane in self._lanes.values()}
        self._towards = {
            name: pair for name, pair in self._towards.items() if pair[0] in used or pair[0].in_flight or pair[0].shaped
        }
        self._by_domain.clear()
        self._alike.clear()
        self._most_lanes = max(KEPT, 2 * len(self._lanes))

    # -- through the gates --

    def closed(self, lane: Lane, now: int) -> Gate | None:
        """What a message of this lane has to wait for, None when it may go now."""
        receiver, sender = lane.receiver, lane.sender
        if (receiver.shaped or receiver.in_flight >= receiver.window) and receiver.opens(now) > now:
            return lane.receiver_gate
        if (
            receiver.in_flight
            and (now - receiver.moved_at > STALLED_MS or receiver.low_ms > SLOW_MS)
            and self.slow.holds(receiver, lane.rank, now)
        ):
            return self.slow.gate
        if sender.gate is not None and sender.gate.opens(lane.rank, now) > now:
            return sender.gate
        if sender.ways.shaped and sender.ways_gate.opens(lane.rank, now) > now:
            return sender.ways_gate
        return None

    def take(self, lane: Lane, now: int) -> tuple[str, tuple[int, int]]:
        """A message of this lane, which no gate holds back, goes: the route, and the days for which it was counted."""
        receiver, sender = lane.receiver, lane.sender
        receiver.take(now)
        if receiver.shaped and receiver.long:
            self._dirty[traffic_kept.RECEIVERS] = True
        relay = sender.ways.only
        if relay is not None and not relay.shaped and sender.gate is None:
            relay.in_flight += 1
            return relay.name, NO_DAYS
        sender_day = 0 if sender.gate is None else self._limits[sender.name].take(now)
        relay = sender.ways.choose(now, patient=lane.rank == BROADCAST)
        if self._counted:
            self._dirty[traffic_kept.COUNTERS] = True
        return relay.name, (sender_day, relay.days.day)

    # -- what mailers report --

    def heard(self, lane: Lane, route: str, done: Done, now: int) -> bool:
        """A report that is not "sent", before it is recorded; True when the message may go another way at once."""
        if done.kind not in REACHED:
            return False
        relay = self._relays[route]
        if route != DIRECT and done.kind == "retry" and (done.stage == "connect" or done.code in SESSION_FAULTS):
            relay.failed(now, done.reason)
            return lane.sender.ways.elsewhere(relay)
        if done.stage == "connect":
            self._changed(lane.receiver.unreachable(now, done.reason))
            return False
        self._judge(lane.receiver, done, now)
        return False

    def _judge(self, receiver: Towards, done: Done, now: int) -> None:
        """What the reply asks for: as a rule says, or, when it is about us, counted."""
        rule = self.receivers.rule(receiver.name, done.reason)
        if rule is None:
            enhanced = parse(done.reason).enhanced
            if done.kind == "retry" and done.stage and not enhanced.startswith(("4.1.", "4.2.")):
                self._changed(receiver.put_off(now, done.reason))
        elif rule.action == "suspend":
            receiver.suspend(now + rule.for_ms, done.reason)
            self._changed(True)
        elif rule.action == "slow":
            receiver.slow(now, part_of(rates.parse(rule.rate), self.division.machines), now + rule.for_ms, done.reason)
            self._changed(True)

    def _changed(self, really: bool) -> None:
        if really:
            self._dirty[traffic_kept.RECEIVERS] = True

    def ended(self, lane: Lane, route: str, days: tuple[int, int], done: Done, asked_at: int, now: int) -> None:
        """A message has come back, and what became of it."""
        receiver, sender, relay = lane.receiver, lane.sender, self._relays[route]
        if done.kind in REACHED and done.stage != "connect":
            took = now - asked_at if asked_at else 0
            receiver.answered(now, took)
            self.slow.answered(receiver, took, now)
            if relay.shaped and done.code not in SESSION_FAULTS:
                relay.answered()
        if sender.gate is not None or self._counted:
            self._count(lane, route, days, done, now)
        receiver.in_flight -= 1
        receiver.moved_at = now
        relay.in_flight -= 1
        relay.trying = False
        if lane.receiver_gate.waiting:
            self.lanes.stir(lane.receiver_gate, now)
        if self.slow.gate.waiting:
            self.lanes.stir(self.slow.gate, now)
        if sender.ways_gate.waiting:
            self.lanes.stir(sender.ways_gate, now)

    def _count(self, lane: Lane, route: str, days: tuple[int, int], done: Done, now: int) -> None:
        """What was not accepted counts against nobody's day."""
        self._dirty[traffic_kept.COUNTERS] = True
        traffic = self._limits.get(lane.sender.name)
        if done.kind in NOT_GONE or done.kind == "retry":
            if traffic is not None:
                traffic.give_back(days[0])
            self._relays[route].days.give_back(days[1])
            if lane.sender.gate is not None and lane.sender.gate.waiting:
                self.lanes.stir(lane.sender.gate, now)
        elif traffic is not None:
            for what in ("sent", "bounced") if done.kind == "bounced" else ("sent",):
                self._warmed(traffic, what, now)

    def feedback(self, sender: str, kind: str, now: int) -> None:
        """A bounce or a complaint that came later."""
        traffic = self._limits.get(sender)
        if traffic is not None and kind in TALLIED:
            self._warmed(traffic, kind, now)

    def _warmed(self, traffic: SenderTraffic, what: str, now: int) -> None:
        if traffic.warmup is not None:
            traffic.warmup.count(what, now)
            self.told(traffic.name, what)
            self._dirty[traffic_kept.COUNTERS] = True

    def elsewhere(self, sender: str, what: str, count: int, now: int) -> None:
        """What another machine told of a sender in warm-up."""
        traffic = self._limits.get(sender)
        if traffic is not None and traffic.warmup is not None and what in TALLIED:
            traffic.warmup.elsewhere(what, count, now)
            self._dirty[traffic_kept.COUNTERS] = True

    # -- receivers found out --

    def learned(self, domain: str, hosts: Sequence[str]) -> None:
        """The MX of a domain: its messages move to the receiver that it is part of."""
        before = self._by_domain.pop(domain, None)
        self._alike.clear()
        name = self.receivers.learn(domain, hosts)
        if before is None or before[0].name == name:
            return
        for rank in RANKS:
            for sender in self._senders:
                lane = self._lanes.get((rank, before[0], sender))
                if lane is not None:
                    self.moved(lane)

    def refresh(self, domain: str) -> None:
        """What was known of it has passed: when it is mailed to again, it is asked for again."""
        self.receivers.forget(domain)
        self._by_domain.pop(domain, None)
        self._alike.clear()

    # -- by hand --

    def release(self, name: str, now: int) -> bool:
        """What was learned of a receiver holds no more; False when there is no such receiver."""
        found = self._towards.get(name)
        if found is None:
            return False
        found[0].release()
        self.lanes.stir(found[1], now)
        self._changed(True)
        return True

    # -- to be kept and looked at --

    def meta(self, now: int) -> dict[str, bytes]:
        """What has changed of what a restart must not forget."""
        if not any(self._dirty.values()):
            return {}
        changed = [name for name, dirty in self._dirty.items() if dirty]
        self._dirty = dict.fromkeys(self._dirty, False)
        kept = traffic_kept.dump(self, changed, now)
        if (sharing := self._sharing) is None:
            return kept
        kept = {f"{name}:{sharing.machine}": value for name, value in kept.items()}
        if sharing.shared and traffic_kept.COUNTERS in changed:
            kept |= traffic_kept.dump_claims(sharing.machine, sharing.day, sharing.claims())
        return kept

    def queues(self) -> dict[str, int]:
        """Messages that wait in memory, by receiver."""
        found: dict[str, int] = {}
        for lane in self._lanes.values():
            if lane.held:
                found[lane.receiver.name] = found.get(lane.receiver.name, 0) + lane.held
        return found

    def undone(self) -> None:
        """A commit was given up: what :meth:`meta` gave it is not on disk."""
        self._dirty = {traffic_kept.COUNTERS: self._counted, traffic_kept.RECEIVERS: True}

    def kept_parts(self) -> tuple[dict[str, SenderTraffic], dict[str, Relay], dict[str, tuple[Towards, Gate]]]:
        return self._limits, self._relays, self._towards

    def receiver(self, name: str) -> Towards:
        return self._receiver(name)[0]

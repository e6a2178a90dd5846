"""Who takes mail in the end: from the domain of an address to a receiver, and what we know of it.

Most domains have their mail with few receivers, and limits are per receiver: a thousand small shops at Google Workspace
share what Google bears.  A *receiver* is told, in this order, by

1. ``[receiver.NAME] domains``, then the domains that everybody knows (:mod:`heliograph.deliver.wellknown`);
2. where it has mail from, if somebody looked (MX roll-up): ``[receiver.NAME] mx``, then the well-known ends of host
   names, then the most preferred host itself, so that domains at one hoster are one receiver;
3. itself: the domain is the receiver's name, as long as nobody knows better.

Pure: who looks up MX records tells the answer to :meth:`Receivers.learn`.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import re2

from heliograph.deliver.limits import Limits, Receiver, Rule
from heliograph.deliver.routes import DEFAULT
from heliograph.deliver.wellknown import ANYBODY, RECEIVERS

KEPT: Final = 20_000
"""Domains whose MX is remembered, some 200 bytes each; the one unused for longest goes first and is asked for again."""


class Receivers:
    """``told``: by name, from the settings.  ``direct``: limits that are built in hold, too."""

    def __init__(self, told: Mapping[str, Receiver] = {}, *, direct: bool = False) -> None:
        self._told = dict(told)
        self._direct = direct
        self._domains = {domain: name for name, known in RECEIVERS.items() for domain in known.domains}
        self._domains |= {domain.lower(): name for name, one in told.items() for domain in one.domains}
        ends = [(end.lower(), name) for name, one in told.items() for end in one.mx]
        ends += [(end, name) for name, known in RECEIVERS.items() for end in known.mx]
        self._ends = [(end if end.startswith(".") else f".{end}", name) for end, name in ends]
        self._learned: OrderedDict[str, str] = OrderedDict()
        self._rules: dict[str, tuple[tuple[Rule, object], ...]] = {}

    def of(self, domain: str) -> str:
        """The name of this domain's receiver, as far as is known now.  ``domain``: lower case, A-label."""
        if (name := self._domains.get(domain)) is not None:
            return name
        return self._learned.get(domain, domain)

    def unknown(self, domain: str) -> bool:
        """Somebody should look up its MX, because nobody has or the answer was forgotten."""
        return domain not in self._domains and domain not in self._learned

    def learn(self, domain: str, hosts: Sequence[str]) -> str:
        """``hosts``: its MX by preference, none when it has none or nobody could say.  The receiver's name."""
        name = self._rolled_up(hosts) or domain
        self._learned[domain] = name
        self._learned.move_to_end(domain)
        while len(self._learned) > KEPT:
            self._learned.popitem(last=False)
        return name

    def forget(self, domain: str) -> None:
        """The answer has passed."""
        self._learned.pop(domain, None)

    def _rolled_up(self, hosts: Sequence[str]) -> str:
        for host in hosts:
            dotted = "." + host.rstrip(".").lower()
            for end, name in self._ends:
                if dotted.endswith(end):
                    return name
        return hosts[0].rstrip(".").lower() if hosts else ""

    def limits(self, name: str) -> Limits:
        """What it bears: its own table, for what that leaves open the well-known, then ``[receiver.default]``."""
        sources: list[Limits | None] = [self._told.get(name)]
        if self._direct:
            sources.append(RECEIVERS.get(name))
        sources.append(self._told.get(DEFAULT))
        given = [one for one in sources if one is not None]
        fields = Limits.__struct_fields__
        return Limits(**{field: next(filter(None, (getattr(one, field) for one in given)), getattr(Limits(), field))
                         for field in fields})  # fmt: skip

    def named(self) -> list[str]:
        """Every receiver that has limits or rules of its own."""
        return sorted({*self._told, *RECEIVERS})

    def rule(self, name: str, reply: str) -> Rule | None:
        """The first rule that this reply of this receiver matches."""
        for rule, pattern in self._rules_of(name):
            if pattern.search(reply):  # type: ignore[attr-defined]  # re2 is not typed
                return rule
        return None

    def _rules_of(self, name: str) -> tuple[tuple[Rule, object], ...]:
        """Compiled once for each set: receivers without rules of their own share one."""
        own = name if name in self._told or name in RECEIVERS else ""
        found = self._rules.get(own)
        if found is None:
            told = [self._told[one] for one in (own, DEFAULT) if one in self._told]
            rules = [rule for one in told for rule in one.rules]
            rules += [*(RECEIVERS[own].rules if own in RECEIVERS else ()), *ANYBODY]
            found = self._rules[own] = tuple((rule, re2.compile(f"(?i){rule.match}")) for rule in rules)
        return found

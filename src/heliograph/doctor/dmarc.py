"""DMARC (RFC 9989): whose policy holds for a domain, and which domains belong together.  Both are found by walking up
the tree of names; there is no list of public suffixes any more."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

MOST_LABELS: Final = 8
"""Of a longer name the walk leaves out what is between (section 4.10): at most eight questions."""
POLICIES: Final = ("none", "quarantine", "reject")


class Record(NamedTuple):
    """The record at one name.  ``tags``: as written, names in lower case."""

    domain: str
    tags: dict[str, str]

    @property
    def psd(self) -> str:
        return self.tags.get("psd", "u").lower()

    @property
    def misspelt(self) -> str:
        """What stands there for a policy and is none; "" where all is well."""
        said = self.tags.get("p", "")
        return "" if said.lower() in POLICIES else f"p={said}" if said else "no p="

    @property
    def policy(self) -> str:
        """``p``; without, and with somewhere to report to, ``none`` (section 4.7)."""
        said = self.tags.get("p", "").lower()
        return said if said in POLICIES else "none"

    def policy_of(self, domain: str) -> str:
        """What holds for a domain below, too."""
        said = self.tags.get("sp", "").lower()
        return said if domain != self.domain and said in POLICIES else self.policy


class Walk(NamedTuple):
    """``records``: those that were met, from the domain upwards.  ``organisation``: what the domain belongs to.
    ``crowded``: names with several records, of which none counts."""

    domain: str
    records: tuple[Record, ...]
    organisation: str
    crowded: tuple[str, ...] = ()

    @property
    def record(self) -> Record | None:
        """The one that holds: the domain's own, else its organisation's, else that of the suffix above (4.10.1)."""
        by_name = {record.domain: record for record in self.records}
        own = by_name.get(self.domain) or by_name.get(self.organisation)
        return own or next((record for record in self.records if record.psd == "y"), None)


def parse(text: str) -> dict[str, str] | None:
    """The tags of a TXT record; None when it is no DMARC record: ``v=DMARC1`` has to be first."""
    pairs = [part.partition("=") for part in text.split(";")]
    if pairs[0][0].strip() != "v" or pairs[0][2].strip() != "DMARC1":
        return None
    return {name.strip().lower(): value.strip() for name, equals, value in pairs if equals}


def names(domain: str) -> list[str]:
    """The names that are asked, the longest first: ``a.b.example``, ``b.example``, ``example``."""
    labels = domain.split(".")
    shorter = len(labels) - 1 if len(labels) <= MOST_LABELS else MOST_LABELS - 1
    return [domain, *(".".join(labels[-count:]) for count in range(shorter, 0, -1))]


async def walk(domain: str, texts: Callable[[str], Awaitable[Sequence[str]]]) -> Walk:
    """Ask ``_dmarc.`` of each name; of several records at one name none counts."""
    found: list[Record] = []
    crowded: list[str] = []
    for name in names(domain):
        records = [tags for text in await texts("_dmarc." + name) if (tags := parse(text)) is not None]
        if len(records) > 1:
            crowded.append(name)
        if len(records) != 1:
            continue
        found.append(Record(name, records[0]))
        if found[-1].psd == "n" or (found[-1].psd == "y" and name != domain):
            break
    return Walk(domain, tuple(found), _organisation(domain, found), tuple(crowded))


def _organisation(domain: str, found: Sequence[Record]) -> str:
    """Section 4.10.2."""
    if not found:
        return domain
    top = found[-1]
    if top.psd == "y" and top.domain != domain:
        return ".".join(domain.split(".")[-len(top.domain.split(".")) - 1 :])
    return top.domain

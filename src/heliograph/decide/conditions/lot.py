"""The leaf ``bucket``: a share of all people, drawn by lot, always the same ones for the same salt."""

from functools import lru_cache
from typing import Any

from heliograph.decide.conditions.model import Leaf, View, content_id
from heliograph.decide.parsing import Context, JsonPath
from heliograph.events.ids import share


class Bucket(Leaf, frozen=True, kw_only=True):
    """Holds for ``below`` (0 to 1) of all people.

    Drawn from the key under which a person was first seen, so that logging in moves nobody; a greater share with the
    same salt keeps everybody who was drawn before.
    """

    salt: str
    below: float

    def truth(self, view: View, t: int) -> bool:
        return drawn(self.salt, view.origin) < self.below

    def seen(self, view: View, t: int) -> str:
        return f"drew {drawn(self.salt, view.origin):.4%}"


@lru_cache(maxsize=2048)
def drawn(salt: str, origin: str) -> float:
    """From 0 to below 1.  Remembered, because every event of a person may ask; few, because a key may be long."""
    return share("bucket", salt, origin)


def make_bucket(salt: str, below: float, written: str) -> Bucket:
    canonical = ["bucket", salt, below]
    return Bucket(
        id=content_id(canonical),
        kind="bucket",
        text=f'is in the first {written} of the draw "{salt}"',
        canonical=canonical,
        by_lot=True,
        salt=salt,
        below=below,
    )


def read_bucket(node: Any, path: JsonPath, context: Context) -> Bucket | None:
    """``{salt: rollout, below: 10%}``; None after noting why not."""
    keys = ("salt", "below")
    fields = context.mapping(node, path, "`bucket`", keys, required=keys)
    if fields is None or len(fields) < len(keys):
        return None
    salt = context.text(fields["salt"], (*path, "salt"), "`salt`")
    below = context.share(fields["below"], (*path, "below"), "`below`")
    return None if salt is None or below is None else make_bucket(salt, below, fields["below"])

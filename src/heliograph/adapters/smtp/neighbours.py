"""What a pool of connections needs of the world around it: a way, and its share beside other pools."""

from typing import Protocol

from heliograph.adapters.smtp.opening import Session


class Way(Protocol):
    """What opens connections; ``str()`` of it names where they lead."""

    async def open(self) -> Session:
        """A session, or :class:`CannotOpen`."""
        ...


class Share(Protocol):
    """How many connections a pool may have beside its neighbours."""

    @property
    def full(self) -> bool:
        """No more now."""
        ...

    @property
    def wanted(self) -> bool:
        """Others wait for a connection, and one of ours is in their way."""
        ...

    @property
    def crowded(self) -> bool:
        """The same, and we have more than our part."""
        ...

    def take(self) -> None:
        """One more is being opened."""
        ...

    def give_back(self) -> None:
        """One is over, or could not be opened."""
        ...

    def want(self) -> None:
        """A message waits for a connection: :meth:`Pool.stir` when there may be one."""
        ...

"""The transport over several routes: relays by name, and the receivers' own servers (``mx``)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from heliograph.adapters.smtp.switch import Desk, Switch
from heliograph.deliver.routes import Reach
from heliograph.ports import Courier, Parcel, Transport, Verdict

OpenRoute = Callable[[Courier], Transport]


class Router:
    """A :class:`heliograph.ports.Transport`; ``routes`` open one each."""

    def __init__(self, courier: Courier, routes: Mapping[str, OpenRoute]) -> None:
        self._courier = courier
        self._switch = Switch(courier)
        self._routes: dict[str, Transport] = {}
        for name, open_route in routes.items():
            desk = Desk(self._switch, courier.delivered)
            desk.transport = self._routes[name] = open_route(desk)

    def room(self, route: str, receiver: str) -> int:
        way = self._routes.get(route)
        return 1 if way is None else way.room(route, receiver)  # 1: so that what leads nowhere is told so

    def post(self, parcel: Parcel) -> None:
        way = self._routes.get(parcel.route)
        if way is not None:
            way.post(parcel)
            return
        known = ", ".join(self._routes)
        why = f"the settings have no relay {parcel.route!r}, only {known}"
        self._courier.delivered(parcel, Verdict("retry", 0, "", why, "connect"))

    def decided(self, go: Sequence[str], stop: Sequence[str]) -> None:
        self._switch.decided(go, stop)

    def reach(self, receivers: Mapping[str, Reach]) -> None:
        for way in self._routes.values():
            way.reach(receivers)

    async def close(self, grace_s: float) -> None:
        await asyncio.gather(*(way.close(grace_s) for way in self._routes.values()))

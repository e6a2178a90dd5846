"""The people of the simulator: who they are, and what they (and their buggy clients) send."""

import random
from typing import Any

import msgspec

from heliograph.events.decode import decode_call
from heliograph.events.ids import make_id
from heliograph.ports import Arrival
from tests.simulation.plans import ZONES

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
COUNT = 60
PRODUCTS = ("lantern", "heart", "clock", "bunting")


class Sent(msgspec.Struct):
    """A call on its way."""

    arrival: Arrival
    person: int


class People:
    """``waiting``: calls without an answer, to be sent again; ``late``: calls that a phone kept for a while."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.waiting: list[Sent] = []
        self.late: list[tuple[int, Sent]] = []
        self.old: list[Sent] = []
        self.made = 0
        self.known: set[int] = set()

    def address(self) -> str:
        return address(self.chance.randrange(COUNT))

    def calls(self, now: int) -> list[Sent]:
        """What arrives next: new calls, calls without an answer, calls sent twice, calls of days ago."""
        chance = self.chance
        if self.waiting and chance.random() < 0.7:
            calls = self.waiting[:5]
            self.waiting = self.waiting[5:]
            chance.shuffle(calls)
        elif self.old and chance.random() < 0.05:
            calls = [chance.choice(self.old)]
        elif (due := [one for at, one in self.late if at <= now]) and chance.random() < 0.5:
            self.late = [(at, one) for at, one in self.late if at > now]
            calls = due
        else:
            calls = self._new(now)
        self.waiting += calls
        return calls

    def answered(self, calls: list[Sent]) -> None:
        gone = {call.arrival.message_id for call in calls}
        self.waiting = [one for one in self.waiting if one.arrival.message_id not in gone]
        self.old = [*self.old[-200:], *calls]

    def _new(self, now: int) -> list[Sent]:
        calls: list[Sent] = []
        for _ in range(self.chance.choice((1, 1, 1, 2, 4))):
            who = int(self.chance.random() ** 2 * COUNT)  # some are busier than others
            if who not in self.known:
                self.known.add(who)
                calls.append(self._sent(who, self._hello(who), now))
            call = self._act(who)
            if self.chance.random() < 0.02:
                calls.append(self._sent(who, imported(call, now - self.chance.randrange(90 * DAY)), now))
            elif self.chance.random() < 0.05:
                self._keep(who, call, now)
            else:
                calls.append(self._sent(who, call, now))
        return calls or self._new(now)

    def _keep(self, who: int, call: dict[str, Any], now: int) -> None:
        """A phone without a network: it will be sent with the time at which it happened."""
        call["timestamp"] = now
        self.late.append((now + int(self.chance.expovariate(1 / (12 * HOUR))), self._sent(who, call, now)))

    def _sent(self, who: int, call: dict[str, Any], now: int) -> Sent:
        self.made += 1
        call["messageId"] = make_id("sim", self.made)
        arrival = decode_call(call["type"], msgspec.json.encode(call), now, lambda: "")
        assert arrival.event is not None, arrival.refused
        return Sent(arrival, who)

    def _hello(self, who: int) -> dict[str, Any]:
        call = self._identify(who)
        call["context"] = {"consent": {"categoryPreferences": {"offers": self.chance.random() < 0.9}}}
        return call

    def _identify(self, who: int) -> dict[str, Any]:
        domain = "shop.test" if who % 20 == 7 else "x.test"
        traits = {"email": f"p{who}@{domain}", "timezone": ZONES[who % len(ZONES)], "n": self.chance.randrange(3)}
        return {"type": "identify", "userId": f"p{who}", "traits": traits}

    def _act(self, who: int) -> dict[str, Any]:
        chance = self.chance
        match chance.randrange(20):
            case 0:
                return self._identify(who)
            case 1:
                call = self._identify(who)
                call["context"] = {"consent": {"categoryPreferences": {"news": chance.random() < 0.7}}}
                return call
            case 2:  # the browser of somebody, before and after the login
                return {"type": "track", "event": "Product Viewed", "anonymousId": f"b{who}-{chance.randrange(30)}"}
            case 3:
                return {**self._identify(who), "anonymousId": f"b{who}-{chance.randrange(30)}"}
            case 4:
                call = self._identify(who)
                call["traits"]["renewal_at"] = f"2026-{chance.choice((3, 4, 10, 11)):02}-{chance.randrange(1, 29):02}"
                return call
            case 5:
                return {"type": "page", "name": "Home", "userId": f"p{who}"}
            case 6:  # somebody else of the household, who reads the same mail
                about = {"traits": {"email": address(who)}, "timezone": ZONES[who % len(ZONES)]}
                return {"type": "track", "event": "Twin Seen", "userId": f"t{who}", "context": about}
            case 7:
                return self._track(who, "Signed Up")
            case 8 | 9:
                return self._track(
                    who, "Order Completed", order_id=f"o{chance.randrange(10**9)}", total=chance.randrange(90)
                )
            case 10:
                return self._track(who, "Cart Removed", cart_id=f"c{who}-{chance.randrange(3)}")
            case 11 | 12 | 13 | 14:
                return self._track(who, "Product Added", cart_id=f"c{who}-{chance.randrange(3)}", price=3)
            case _:
                return self._track(who, "Product Viewed", product_id=chance.choice(PRODUCTS))

    def _track(self, who: int, event: str, **properties: Any) -> dict[str, Any]:
        return {"type": "track", "event": event, "userId": f"p{who}", "properties": properties}


def imported(call: dict[str, Any], at: int) -> dict[str, Any]:
    """The same, long ago, brought in by an import."""
    return {**call, "timestamp": at, "context": {**call.get("context", {}), "historical": True}}


def address(who: int) -> str:
    return f"p{who}@{'shop.test' if who % 20 == 7 else 'x.test'}"

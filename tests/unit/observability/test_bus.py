import asyncio
from contextlib import aclosing

from corral.domain.events import Evicted, Notice
from corral.observability.bus import FEED_LIMIT, Bus


def test_subscribers_see_notices_in_order_until_they_leave() -> None:
    bus, seen = Bus(), list[Notice]()
    take = seen.append
    bus.subscribe(take)
    bus.publish(Evicted("a", "ttl"))
    bus.unsubscribe(take)
    bus.publish(Evicted("b", "ttl"))

    assert seen == [Evicted("a", "ttl")]


async def test_a_slow_feed_loses_the_oldest_and_leaves_nothing_behind() -> None:
    bus = Bus()
    async with aclosing(bus.feed()) as feed:
        first = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)
        for number in range(FEED_LIMIT + 5):
            bus.publish(Evicted(str(number), "ttl"))
        notice = await asyncio.wait_for(first, 1)

        assert isinstance(notice, Evicted)
        assert notice.model == "5"
    assert bus._subscribers == ()

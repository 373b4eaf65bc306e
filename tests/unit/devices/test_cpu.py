from collections import namedtuple
from collections.abc import Iterator

from corral.devices.cpu import CpuReader
from corral.domain.devices import CpuTime

Linux = namedtuple("Linux", "user nice system idle iowait irq softirq steal guest guest_nice")
Mac = namedtuple("Mac", "user nice system idle")


def test_busy_is_all_but_idling_and_guests_count_once() -> None:
    times = Linux(
        user=10, nice=1, system=2, idle=50, iowait=4, irq=0.5, softirq=0.25, steal=0.125, guest=9, guest_nice=1
    )

    assert CpuReader(lambda: times).read() == CpuTime(busy_s=13.875, idle_s=54)
    assert CpuReader(lambda: Mac(user=10, nice=1, system=2, idle=50)).read() == CpuTime(busy_s=13, idle_s=50)


def test_what_the_system_takes_back_makes_no_counter_fall() -> None:
    seen: Iterator[Mac] = iter([Mac(10, 0, 0, 50), Mac(11, 0, 0, 49.5), Mac(12, 0, 0, 51)])
    reader = CpuReader(lambda: next(seen))

    assert [reader.read() for _ in range(3)] == [CpuTime(10, 50), CpuTime(11, 50), CpuTime(12, 51)]


def test_a_system_that_does_not_say_is_no_error() -> None:
    def nobody_says() -> Mac:
        raise PermissionError

    assert CpuReader(nobody_says).read() is None


def test_this_machine() -> None:
    reader = CpuReader()
    first = reader.read()
    second = reader.read()

    assert first and second and 0 < first.busy_s <= second.busy_s and 0 < first.idle_s <= second.idle_s

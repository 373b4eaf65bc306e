"""Speed over the last seconds, on a clock of the test's own."""

from __future__ import annotations

from corral.domain.fetching import Progress
from corral.store.fetch.meter import Meter


class Course:
    """What is told of a fetch, and the speed that is made of it."""

    def __init__(self) -> None:
        self.at = 0.0
        self.meter = Meter(lambda: self.at)

    def look(self, done_bytes: int, *, path: str = "o/a.gguf", doing: str = "fetching", after_s: float = 0.0) -> float:
        self.at += after_s
        name = path.rpartition("/")[2]
        return self.meter.look(Progress(done_bytes, None, file=name, doing=doing, path=path))


def test_it_is_of_the_last_seconds_and_what_was_there_does_not_count() -> None:
    course = Course()
    assert course.look(1_000_000) == 0.0
    for _ in range(50):
        course.at += 0.2
        speed = course.look(1_000_000 + int(course.at * 1000))
    assert 990 < speed < 1010
    stalled = 1_000_000 + int(course.at * 1000)
    for _ in range(30):
        speed = course.look(stalled, after_s=0.2)
    assert speed < 50


def test_from_the_beginning_again_is_no_negative_speed() -> None:
    course = Course()
    course.look(1000)
    assert course.look(5000, after_s=1) == 4000
    assert course.look(0, after_s=1) == 2000  # 4,000 bytes in two seconds have come, whatever they are worth now


def test_files_that_were_here_and_files_that_are_gone_on_with_are_no_speed() -> None:
    course = Course()
    for number in range(5):
        course.look(60_000_000 * (number + 1), path=f"o/{number}/m.gguf")
    assert course.look(330_000_000, path="o/6/m.gguf", after_s=0.25) == 0.0  # half of it was left by an earlier fetch
    assert course.look(330_000_600, path="o/6/m.gguf", after_s=0.5) == 800.0


def test_what_is_only_hashed_is_no_speed_and_the_time_for_it_does_not_count() -> None:
    course = Course()
    assert course.look(30_000_000, doing="verifying") == course.look(60_000_000, doing="verifying", after_s=3) == 0.0
    course.look(60_000_000, path="o/b.gguf", after_s=1)
    assert course.look(60_001_000, path="o/b.gguf", after_s=1) == 1000.0
    assert course.look(60_001_000, path="o/b.gguf", doing="waiting", after_s=1) == 0.0

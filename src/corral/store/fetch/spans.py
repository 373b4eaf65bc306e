"""Which bytes of a file are there: disjoint spans in order, `[first, end)`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

Span = tuple[int, int]


@dataclass(slots=True)
class Spans:
    """A set of bytes. It has a few spans, however large the file: one or two for each connection."""

    spans: list[Span] = field(default_factory=list)

    @staticmethod
    def of(spans: Iterable[Span]) -> Spans:
        """Of spans in any order, which may overlap."""
        found = Spans()
        for first, end in spans:
            found.add(first, end)
        return found

    def add(self, first: int, end: int) -> None:
        """These bytes too."""
        if end <= first:
            return
        before = [span for span in self.spans if span[1] < first]
        after = [span for span in self.spans if span[0] > end]
        for span in self.spans[len(before) : len(self.spans) - len(after)]:
            first, end = min(first, span[0]), max(end, span[1])
        self.spans = [*before, (first, end), *after]

    def cut(self, count: int) -> int:
        """No longer its last `count` bytes; where it ends now."""
        while count > 0 and self.spans:
            first, end = self.spans.pop()
            if end - first > count:
                self.spans.append((first, end - count))
            count -= end - first
        return self.end

    def below(self, limit: int) -> Spans:
        """What of it is before that byte."""
        return Spans([(first, min(end, limit)) for first, end in self.spans if first < limit])

    @property
    def count(self) -> int:
        """How many bytes."""
        return sum(end - first for first, end in self.spans)

    @property
    def frontier(self) -> int:
        """All bytes before this one are there."""
        return self.spans[0][1] if self.spans and self.spans[0][0] == 0 else 0

    @property
    def end(self) -> int:
        """No byte from this one on is there."""
        return self.spans[-1][1] if self.spans else 0

    def run(self, at: int) -> tuple[bool, int | None]:
        """Whether the byte `at` is there, and the first one behind it of which that is not so any more."""
        for first, end in self.spans:
            if at < first:
                return False, first
            if at < end:
                return True, end
        return False, None

    def gap(self, size: int) -> Span | None:
        """The first bytes below `size` that are not there."""
        at = 0
        for first, end in self.spans:
            if at < first:
                break
            at = end
        else:
            first = size
        return (at, min(first, size)) if at < min(first, size) else None

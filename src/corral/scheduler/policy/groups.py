"""
Groups: which Models leave when another comes, whatever the memory.

Two members of one `swap` group never run together. A member of an `exclusive` group sends the members of all other
groups away, except those of `persistent` groups. Models without a group are touched by neither.

The relation has a direction: an exclusive member sends others away when it starts, but a running exclusive member is
not sent away by a newcomer that is not exclusive itself.
"""

from __future__ import annotations

from corral.domain.fleet import GroupSpec


def must_leave(newcomer: GroupSpec | None, other: GroupSpec | None) -> str:
    """Why a Model of group `other` cannot run when one of `newcomer` starts: `swap`, `exclusive`, or "" when it can."""
    if newcomer is None or other is None:
        return ""
    if newcomer.name == other.name:
        return "swap" if newcomer.swap else ""
    return "exclusive" if newcomer.exclusive and not other.persistent else ""


class Ahead:
    """
    The groups of the loads that go first. Whoever conflicts with one of them, in either direction, waits behind it.

    Answers in constant time, so that a thousand Models that wait for one group cost a thousand look-ups.
    """

    def __init__(self) -> None:
        self._swap: set[str] = set()
        self._exclusive: set[str] = set()
        self._sent_away: set[str] = set()  # groups that an exclusive newcomer would send away

    def add(self, group: GroupSpec | None) -> None:
        """A load of this group goes first."""
        if group is None:
            return
        if group.swap:
            self._swap.add(group.name)
        if group.exclusive:
            self._exclusive.add(group.name)
        if not group.persistent:
            self._sent_away.add(group.name)

    def blocks(self, group: GroupSpec | None) -> bool:
        """True where a load of this group cannot go at the same time."""
        if group is None:
            return False
        own = {group.name}
        if group.name in self._swap:
            return True
        if not group.persistent and self._exclusive - own:
            return True
        return group.exclusive and bool(self._sent_away - own)

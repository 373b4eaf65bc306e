from __future__ import annotations

import itertools

import pytest

from corral.domain.fleet import GroupSpec
from corral.scheduler.policy.groups import Ahead, must_leave

GROUPS = [None] + [
    GroupSpec(name, (), swap=swap, exclusive=exclusive, persistent=persistent)
    for name in ("g", "h")
    for swap, exclusive, persistent in itertools.product((False, True), repeat=3)
]


def test_members_of_one_swap_group_exclude_each_other() -> None:
    assert must_leave(GroupSpec("g", (), swap=True), GroupSpec("g", (), swap=True)) == "swap"
    assert must_leave(GroupSpec("g", (), swap=False), GroupSpec("g", (), swap=False)) == ""


def test_an_exclusive_group_sends_others_away_but_not_the_persistent_nor_itself() -> None:
    exclusive = GroupSpec("x", (), swap=False, exclusive=True)
    assert must_leave(exclusive, GroupSpec("g", ())) == "exclusive"
    assert must_leave(exclusive, GroupSpec("g", (), persistent=True)) == ""
    assert must_leave(exclusive, exclusive) == ""
    assert must_leave(GroupSpec("g", ()), exclusive) == ""


def test_models_without_a_group_are_touched_by_nobody() -> None:
    exclusive = GroupSpec("x", (), exclusive=True)
    assert must_leave(exclusive, None) == ""
    assert must_leave(None, exclusive) == ""


def _one_spec_each(*groups: GroupSpec | None) -> bool:
    """Two different specs of one name cannot be in one Fleet."""
    named = [group for group in groups if group is not None]
    return all(a == b for a, b in itertools.combinations(named, 2) if a.name == b.name)


@pytest.mark.parametrize("group", GROUPS)
def test_who_is_ahead_blocks_exactly_those_it_conflicts_with_in_either_direction(group: GroupSpec | None) -> None:
    for first, second in itertools.product(GROUPS, repeat=2):
        if not _one_spec_each(group, first, second):
            continue
        ahead = Ahead()
        ahead.add(first)
        ahead.add(second)
        conflict = any(must_leave(a, group) or must_leave(group, a) for a in (first, second))
        assert ahead.blocks(group) == conflict, (first, second, group)


def test_nobody_ahead_blocks_nobody() -> None:
    assert not any(Ahead().blocks(group) for group in GROUPS)

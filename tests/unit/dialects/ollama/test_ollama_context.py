"""`context`: a conversation as numbers, and back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.dialects.ollama.context import LONGEST_BYTES, told, turns_of
from corral.domain.chat import Media, MediaKind, Message, Role, Text
from corral.domain.errors import BadRequest


def turn(role: Role, text: str) -> Message:
    return Message(role, (Text(text),))


TURNS = (turn(Role.SYSTEM, "Be."), turn(Role.USER, "Grüß Gott"))


@given(st.lists(st.tuples(st.sampled_from((Role.SYSTEM, Role.USER, Role.ASSISTANT)), st.text())), st.text())
def test_what_is_told_is_what_comes_back(turns: list[tuple[Role, str]], answer: str) -> None:
    said = [turn(*each) for each in turns]
    numbers = told(said, answer)
    assert numbers is not None and all(0 <= number < 65536 for number in numbers)
    assert turns_of(numbers) == (*said, turn(Role.ASSISTANT, answer))


def test_pictures_are_not_told() -> None:
    numbers = told([Message(Role.USER, (Text("see"), Media(MediaKind.IMAGE, "image/png", "x" * 9999)))], "a llama")
    assert numbers is not None and turns_of(numbers)[0] == turn(Role.USER, "see")


def test_what_is_too_long_is_not_told() -> None:
    assert told(TURNS, "x" * LONGEST_BYTES) is None
    assert told(TURNS, "x" * (LONGEST_BYTES - 100)) is not None


GOOD = told(TURNS, "Hi") or []


@pytest.mark.parametrize(
    "numbers",
    [
        [1], [1, 2], [128000, 15339, 1917], [-1, -2, -3], [0, 0, 2**62], [0xC0A1], [0xC0A1, 0],
        GOOD[:-1], GOOD[1:], [*GOOD, 7], [*GOOD[:5], GOOD[5] ^ 1, *GOOD[6:]],
    ],
)  # fmt: skip
def test_numbers_of_others_are_refused(numbers: list[int]) -> None:
    with pytest.raises(BadRequest, match="none that was given here"):
        turns_of(numbers)


@given(st.lists(st.integers(0, 65535)))
def test_whatever_comes_is_read_or_refused(numbers: list[int]) -> None:
    with contextlib.suppress(BadRequest):
        turns_of(numbers)

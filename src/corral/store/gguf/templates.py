"""
What a chat template can do, read from its text: it is a program of strangers, and nobody runs it to find out.

A name stands in what Jinja evaluates; prose and texts only speak of things (`raise_exception('no tools')`), and of
comments nothing counts. One pass over the text, whatever is in it.
"""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 256 * 1024  # letters that are looked at; templates reach 100,000
_OPENS: Final = re.compile(r"\{[#%{]")
_STOPS: Final = {"{%": re.compile(r"['\"]|%\}"), "{{": re.compile(r"['\"]|\}\}")}
_REST: Final = {"'": re.compile(r"(?:[^'\\]|\\.)*+'", re.DOTALL), '"': re.compile(r'(?:[^"\\]|\\.)*+"', re.DOTALL)}
_TOOLS: Final = re.compile(r"\btools\b")
_THINKING: Final = re.compile(r"\b(thinking|enable_thinking|reasoning_effort|thinking_budget)\b")
_THOUGHTS: Final = (
    "<think>", "</think>", "<thought>", "</thought>", "<|channel|>", "[THINK]", "<|START_THINKING|>", "<seed:think>",
)  # fmt: skip


def template_abilities(template: str, with_tools: str = "") -> frozenset[str]:
    """
    Whether a chat template knows tools and thinking. `with_tools` is the one that the engine takes in its place where a
    request has tools.
    """
    found: set[str] = set()
    for text in (template, with_tools):
        code, words = _parts(text[:MOST])
        if _TOOLS.search(code):
            found.add("tools")
        if _THINKING.search(code) or any(mark in words for mark in _THOUGHTS):
            found.add("reasoning")
    return frozenset(found)


def _parts(template: str) -> tuple[str, str]:
    """What is evaluated, without the texts in it; and all texts, those in it too. What is never closed is the end."""
    code: list[str] = []
    words: list[str] = []
    at = 0
    while opened := _OPENS.search(template, at):
        words.append(template[at : opened.start()])
        if opened[0] == "{#":
            end = template.find("#}", opened.end())
            at = end + 2 if end >= 0 else len(template)
        else:
            at = _evaluated(template, opened.end(), _STOPS[opened[0]], code, words)
    words.append(template[at:])
    return " ".join(code), " ".join(words)


def _evaluated(template: str, at: int, stops: re.Pattern[str], code: list[str], words: list[str]) -> int:
    """Where it ends."""
    while stop := stops.search(template, at):
        code.append(template[at : stop.start()])
        if stop[0] not in _REST:
            return stop.end()
        text = _REST[stop[0]].match(template, stop.end())
        if text is None:
            return len(template)
        words.append(text[0])
        at = text.end()
    code.append(template[at:])
    return len(template)

"""What a chat template can do, by the words of real ones and of hostile ones."""

from __future__ import annotations

import time

import pytest

from corral.store.gguf.templates import template_abilities

KNOWS = {
    "Llama 3.1": ("{%- if not tools is defined %}{%- set tools = none %}{%- endif %}", {"tools"}),
    "Qwen 3": ("{%- if tools %}{{- x }}{%- endif %}{%- if enable_thinking is defined %}{{ '<think>' }}{%- endif %}",
               {"tools", "reasoning"}),
    "DeepSeek R1": ("{% if m['content'] %}{% set content = content.split('</think>')[-1] %}{% endif %}", {"reasoning"}),
    "Granite 3.2": ("{%- if tools %}{%- elif thinking %}{%- set x = 1 %}{%- endif %}", {"tools", "reasoning"}),
    "EXAONE Deep": ("{{ '[|assistant|]<thought>\\n' }}", {"reasoning"}),
    "gpt-oss": ("{{- '<|channel|>analysis' }}{{ reasoning_effort }}", {"reasoning"}),
    "Mistral": ("{%- for tool in tools %}{{ tool|tojson }}{% endfor %}", {"tools"}),
    "text outside": ("<think>{{ x }}", {"reasoning"}),
    "no more than a chat": ("{% for m in messages %}{{ m.content }}{% endfor %}", set()),
    "a comment": ("{# this model does not support tools, nor thinking: no <think> #}{{ x }}", set()),
    "a refusal": ("{{ raise_exception('tools are not supported') }}{{ raise_exception(\"no thinking\") }}", set()),
    "a quote in a text": ("{{ raise_exception('it\\'s without tools') }}", set()),
    "prose": ("You have no tools and do no thinking. {{ x }}", set()),
    "other names": ("{{ toolset }} {{ no_tools }} {% set rethinking = 1 %}", set()),
    "a closing mark in a text": ("{% set end = '%}' %}{% if tools %}", {"tools"}),
    "a brace in a text": ("{{ '}}' }}{{ tools }}", {"tools"}),
    "never closed": ("{% if tools", {"tools"}),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWS)
def test_what_a_template_knows(name: str) -> None:
    template, found = KNOWS[name]
    assert template_abilities(template) == found


def test_the_one_that_is_taken_for_tools_counts_too() -> None:
    """Command R and Hermes have no tools in their first one."""
    assert template_abilities("{{ x }}", "{% for tool in tools %}") == {"tools"}
    assert template_abilities("{{ '<think>' }}", "{% for tool in tools %}") == {"tools", "reasoning"}


@pytest.mark.parametrize("piece", ["{#", "{%", "{{", "{{'", "{{ '\\'", '{% "', "%}", "{##}", "{{''}}", "<think"])
def test_a_hostile_one_is_read_in_one_pass(piece: str) -> None:
    began = time.process_time()
    template_abilities(piece * 3_000_000)
    assert time.process_time() - began < 1

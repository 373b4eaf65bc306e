"""The part of Go's templates that /api/generate takes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.dialects.ollama.templates import render
from corral.domain.errors import BadRequest

CHATML = """{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}<|im_start|>user
{{ .Prompt }}<|im_end|>
<|im_start|>assistant
{{ .Response }}<|im_end|>"""


def test_a_usual_one() -> None:
    user = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert render(CHATML, system="", prompt="hi") == user
    assert render(CHATML, system="Be.", prompt="hi") == f"<|im_start|>system\nBe.<|im_end|>\n{user}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("{{.Prompt}}", "P"),
        ("a {{- .Prompt -}} b", "aPb"),
        ("a\n{{- /* nothing */ -}}\nb", "ab"),
        ("{{ if .Suffix }}x{{ else }}y{{ end }}", "y"),
        ("{{ if .Suffix }}x{{ else if .System }}s{{ else }}y{{ end }}", "s"),
        ("{{ if .System }}{{ if .Suffix }}a{{ else }}b{{ end }}c{{ end }}d", "bcd"),
        ("{{ if .Suffix }}{{ if .System }}a{{ else }}b{{ end }}c{{ end }}d", "d"),
        ("{{ if not .Suffix }}n{{ end }}{{ if and .System .Prompt }}a{{ end }}", "na"),
        ("{{ if or .Suffix .Prompt }}o{{ end }}{{ if and .System .Suffix }}a{{ end }}", "o"),
        ("{{ if .Suffix }}{{ .Response }}{{ end }}{{ .Prompt }}", "P"),
        ("{{ .Prompt }}{{ .Response }}never", "P"),
    ],
)  # fmt: skip
def test_what_it_becomes(template: str, text: str) -> None:
    assert render(template, system="S", prompt="P") == text


def test_what_is_put_in_is_never_a_template() -> None:
    assert render("{{ .Prompt }}", system="secret", prompt="{{ .System }}") == "{{ .System }}"


@pytest.mark.parametrize(
    "template",
    [
        "{{ range .Messages }}{{ .Content }}{{ end }}",
        "{{ .Messages }}",
        "{{ $x := 1 }}",
        "{{ .Prompt | upper }}",
        "{{ if eq .System \"x\" }}{{ end }}",
        "{{ if .System }}",
        "{{ end }}",
        "{{ else }}",
        "{{ if .System }}{{ else }}{{ else }}{{ end }}",
        "{{ if }}x{{ end }}",
        "{{ .Prompt",
        "{{{ .Prompt }}}",
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused(template: str) -> None:
    with pytest.raises(BadRequest, match="`template`"):
        render(template, system="S", prompt="P")


@given(st.lists(st.sampled_from(["{{", "}}", " if ", " .System ", " else ", " end ", "-", " ", "x", "/*", "*/", "\n"])))
def test_any_text_is_a_template_or_refused(pieces: list[str]) -> None:
    with contextlib.suppress(BadRequest):
        render("".join(pieces), system="S", prompt="P")


def test_a_hostile_one_takes_no_time() -> None:
    with pytest.raises(BadRequest):
        render("{{" * 200_000, system="", prompt="")

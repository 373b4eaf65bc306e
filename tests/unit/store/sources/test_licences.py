"""What the text of a licence is called."""

from __future__ import annotations

import pytest

from corral.store.sources.ollama import licence_title


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("MIT License\n\nCopyright (c) 2024 Somebody", "MIT License"),
        (
            "\n                              Apache License\n                        Version 2.0, January 2004\n",
            "Apache License, Version 2.0, January 2004",
        ),
        (
            "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date: ...",
            "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT",
        ),
        ("Gemma Terms of Use \r\n\r\nLast modified", "Gemma Terms of Use"),
        ("Same\nSame", "Same"),
        ("\x1b[31mred\n", "[31mred"),
        ("x" * 500, "x" * 80),
        ("", ""),
        (" \n\t\n", ""),
    ],
)
def test_its_first_line_and_its_version(text: str, title: str) -> None:
    assert licence_title(text) == title

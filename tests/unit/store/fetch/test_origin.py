"""Whether a file that is there came from where it is asked for now."""

from __future__ import annotations

import pytest

from corral.contracts.fetching import RemoteFile
from corral.domain.references import parse
from corral.store.fetch.origin import Origin, from_elsewhere


@pytest.mark.parametrize(
    ("said", "asked", "elsewhere"),
    [
        ("https://h.example/a.gguf", "https://h.example/a.gguf", False),
        ("https://h.example/a.gguf", "https://H.example:443/a.gguf?sig=1", False),
        ("https://h.example/%61.gguf", "https://h.example/a.gguf", False),
        ("http://h.example/a.gguf", "https://h.example/a.gguf", True),
        ("https://h.example/a.gguf", "http://h.example/a.gguf", True),
        ("https://h.example:8080/a.gguf", "https://h.example/a.gguf", True),
        ("https://h.example/a~.gguf", "https://h.example/a_.gguf", True),
        ("https://h.example/a%2Fb.gguf", "https://h.example/a/b.gguf", True),
        ("https://h.example/a%252Fb.gguf", "https://h.example/a%2Fb.gguf", True),
        ("https://h.example/a-00002-of-00003.gguf", "https://h.example/a-00001-of-00003.gguf", False),
        ("https://h.example/a-00002-of-00003.gguf", "https://h.example/b-00001-of-00003.gguf", True),
        ("hf.co/o/r", "https://h.example/a.gguf", True),
        ("nonsense", "https://h.example/a.gguf", True),
        ("", "https://h.example/a.gguf", False),
    ],
)
def test_of_an_address(said: str, asked: str, elsewhere: bool) -> None:
    origin = Origin(1, said, "https://x", 1, "aa")
    assert from_elsewhere(origin, parse(asked), RemoteFile(asked, "web/h/a.gguf")) is elsewhere
    assert not from_elsewhere(origin, parse(asked), RemoteFile(asked, "web/h/a.gguf", sha256="aa")), "its hash is known"


@pytest.mark.parametrize(
    ("url", "now", "elsewhere"),
    [
        ("http://mirror/x/resolve/1/LICENSE", "https://huggingface.co/x/resolve/2/LICENSE", True),
        ("https://huggingface.co/x/resolve/1/LICENSE", "https://huggingface.co/x/resolve/2/LICENSE", False),
        ("https://huggingface.co/x/resolve/1/LICENSE", "http://mirror/x/resolve/1/LICENSE", False),
        ("file:///cache/LICENSE", "https://huggingface.co/x/resolve/1/LICENSE", False),
    ],
)
def test_a_small_file_of_a_repository_that_came_by_http_is_not_that_of_the_hub(
    url: str, now: str, elsewhere: bool
) -> None:
    assert from_elsewhere(Origin(1, "hf.co/o/r", url, 1, "aa"), parse("hf.co/o/r"), RemoteFile(now, "x")) is elsewhere

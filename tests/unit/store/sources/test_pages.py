"""Where the next page of a listing is."""

from __future__ import annotations

import pytest

from corral.store.sources.pages import next_page


@pytest.mark.parametrize(
    "link",
    [
        '</n?cursor=a,b;c>; rel="next"',
        "</n?cursor=a,b;c>;rel=next",
        '</n?cursor=a,b;c>; title="x"; rel="next"',
        '</n?cursor=a,b;c>; title="a; rel=prev, <p>" ; REL = "last NEXT"; x',
        '</p>; rel="prev", </n?cursor=a,b;c>; rel="next"',
        '<>; rel="prev" , </n?cursor=a,b;c>; rel="next"; rel="prev"',
    ],
)
def test_the_next_page_however_it_is_written(link: str) -> None:
    assert next_page(link) == "/n?cursor=a,b;c"


@pytest.mark.parametrize(
    "link",
    ["", "</n>", '</n>; rel="prev"', '</n>; title="; rel=next"', '</n>; rel="nextish"', 'x; rel="next"', "<" * 9000,
     "</n>" + ";a" * 9000 + "!", '</n>; a="' * 2000],
)  # fmt: skip
def test_the_last_page(link: str) -> None:
    assert next_page(link) == ""

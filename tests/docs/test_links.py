"""Every link of the README and of docs/ leads to a page that is there, and to a heading of it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")])
_CODE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
_NAMED: Final = re.compile(r"docs/[a-z/-]+\.md(?! of ggml)")


@cache
def anchors(page: Path) -> frozenset[str]:
    """As GitHub makes them of headings; a heading that comes again gets a number."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text("utf-8")), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        plain = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        again = sum(re.fullmatch(rf"{re.escape(plain)}(-\d+)?", each) is not None for each in found)
        found.append(f"{plain}-{again}" if again else plain)
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(_CODE.sub("", page.read_text("utf-8"))):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


def test_pages_that_texts_and_code_name_are_there() -> None:
    files = [*PAGES, *(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").rglob("*.json")]
    named = {(name, file) for file in files for name in _NAMED.findall(file.read_text("utf-8"))}
    assert sorted(f"{file}: {name}" for name, file in named if not (ROOT / name).is_file()) == []


def test_every_room_of_the_store_is_described() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = {each.parent.name for each in (ROOT / "src" / "corral" / "store").glob("*/__init__.py")}
    assert len(rooms) >= 7
    assert sorted(room for room in rooms if f"`store/{room}/" not in text) == []


def test_every_page_is_reached_from_the_readme() -> None:
    """Through links of links."""
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        links = _LINK.findall(_CODE.sub("", page.read_text("utf-8")))
        left += [(page.parent / target).resolve() for target, _ in links if target]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []

"""
Hugging Face's hub: what a repository has, and where its files are.

    GET {endpoint}/api/models/{repo}/revision/{revision}?blobs=true    files with sizes and hashes, commit, licence
    GET {endpoint}/api/models/{repo}/tree/{commit}?recursive=true      the same in pages, where the first has no sizes
    GET {endpoint}/{repo}/resolve/{commit}/{file}                      redirects to where the bytes are

Large files are in LFS, whose ids are their SHA-256; small ones are known to git only, by SHA-1.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

import msgspec

from corral.domain.errors import FetchRefused, WrongContent
from corral.domain.references import BadReference, HubReference, check_inside
from corral.store.fetch.answer import Answer
from corral.store.fetch.line import Line
from corral.store.fetch.rules import joined, origin_of, shown
from corral.store.fetch.web import Web
from corral.store.sources.listing import ListedFile
from corral.store.sources.pages import next_page

logger = logging.getLogger(__name__)

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_REPOSITORY: Final = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MOST_PAGES: Final = 100
_MOST_BYTES: Final = 1 << 62  # of a file: what a disk's own numbers can say


class _Sibling(msgspec.Struct):
    """Without its name a file cannot be asked for; whatever else is said may be missing, or nonsense."""

    rfilename: str
    size: Any = None
    lfs: Any = None


class _Model(msgspec.Struct):
    siblings: list[_Sibling] = []
    id: Any = ""
    sha: Any = ""
    tags: Any = None
    cardData: Any = None
    gguf: Any = None


class _Entry(msgspec.Struct):
    path: str
    type: Any = ""
    size: Any = None
    lfs: Any = None


@dataclass(frozen=True, slots=True)
class SaidOfModel:
    """
    What the hub itself has read from the header of one file; nothing where it has not.

    Under the key `gguf`: `total` (weights), `architecture` and `context_length`, as in huggingface_hub's pull request
    2545, which added it there.
    """

    parameters: int | None = None
    architecture: str = ""
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """
    A repository at one moment; `commit` names it for good ("" where the hub does not say).

    `reference` has its name as the hub writes it. One that was given another name keeps that by which it was asked
    for: what is configured so is then found here with nobody asked.
    """

    reference: HubReference
    files: tuple[ListedFile, ...]
    commit: str = ""
    licence: str = ""
    model: SaidOfModel = SaidOfModel()


def repository(web: Web, endpoint: str, reference: HubReference) -> Repository:
    """What the repository has. Raises FetchFailed; NotThere also for what is private or gated."""
    revision = quote(reference.revision, safe="")
    url = f"{endpoint}/api/models/{reference.repo}/revision/{revision}?blobs=true"
    said = _as(_Model, web.json(url), url)
    commit = sha if _COMMIT.fullmatch(sha := _text(said.sha)) else ""
    files = [_listed(each.rfilename, each.size, each.lfs) for each in said.siblings]
    if any(each.size_bytes is None for each in files if each and each.path.lower().endswith(".gguf")):
        files = _tree(web, endpoint, reference, commit)
    return Repository(
        _as_written(reference, _text(said.id)),
        tuple(each for each in files if each),
        commit,
        _licence(said),
        _model(said.gguf),
    )


def _as_written(reference: HubReference, name: str) -> HubReference:
    if name.isascii() and name.lower() == reference.repo.lower():
        return replace(reference, repo=name)
    if _REPOSITORY.fullmatch(name):
        logger.warning("hf.co/%s is called hf.co/%s by now: name that, the old one may go", reference.repo, name)
    return reference


def file_url(endpoint: str, repository: Repository, path: str) -> str:
    """Where a file's bytes are: of the very commit that was listed, whatever is uploaded meanwhile."""
    revision = repository.commit or repository.reference.revision
    return f"{endpoint}/{repository.reference.repo}/resolve/{quote(revision, safe='')}/{quote(path)}"


def _tree(web: Web, endpoint: str, reference: HubReference, commit: str) -> list[ListedFile | None]:
    revision = quote(commit or reference.revision, safe="")
    url = f"{endpoint}/api/models/{reference.repo}/tree/{revision}?recursive=true&expand=false"
    found: list[ListedFile | None] = []
    with web.line() as line:
        for _ in range(_MOST_PAGES):
            entries, after = _page(web, url, line)
            found += [_listed(each.path, each.size, each.lfs) for each in entries if each.type == "file"]
            if not after:
                return found
            here, url = url, joined(url, after)
            if origin_of(url) != origin_of(here):
                raise FetchRefused(f"{shown(here)} has its next page elsewhere: {shown(url)}.")
    raise WrongContent(f"{shown(url)} has more than {_MOST_PAGES} pages.")


def _page(web: Web, url: str, line: Line) -> tuple[list[_Entry], str]:
    """What is on it, and where the next one is."""
    after = ""

    def seen(answer: Answer) -> None:
        nonlocal after
        after = next_page(answer.headers.get("link", ""))

    body = web.read(url, headers={"Accept": "application/json"}, line=line, seen=seen)
    try:
        return msgspec.json.decode(body, type=list[_Entry]), after
    except (ValueError, RecursionError):
        raise _strange(url) from None


def _listed(path: str, size: Any, lfs: Any) -> ListedFile | None:
    """None for a name or a size that no file here can have."""
    try:
        check_inside(path)
    except BadReference:
        return None
    lfs = lfs if isinstance(lfs, dict) else {}
    digest = (_text(lfs.get("sha256")) or _text(lfs.get("oid"))).lower()
    large = lfs.get("size")
    size = large if large is not None else size
    if not isinstance(size, int) or isinstance(size, bool):
        size = None
    if size is not None and not 0 <= size < _MOST_BYTES:
        return None
    return ListedFile(path, size, digest if _SHA256.fullmatch(digest) else "")


def _licence(said: _Model) -> str:
    named = said.cardData.get("license") if isinstance(said.cardData, dict) else None
    if isinstance(named, list):
        named = ", ".join(str(each) for each in named)
    tags = [_text(each) for each in said.tags] if isinstance(said.tags, list) else []
    tagged = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
    return "".join(char for char in _text(named) or tagged if char.isprintable())[:100]


def _text(said: Any) -> str:
    return said if isinstance(said, str) else ""


def _model(said: Any) -> SaidOfModel:
    said = said if isinstance(said, dict) else {}
    sizes = (said.get(key) for key in ("total", "context_length"))
    parameters, context = (size if isinstance(size, int) and 0 < size < 1 << 50 else None for size in sizes)
    return SaidOfModel(parameters, _text(said.get("architecture")), context)


def _as(kind: type[_Model], value: Any, url: str) -> _Model:
    try:
        return msgspec.convert(value, kind)
    except ValueError:
        raise _strange(url) from None


def _strange(url: str) -> WrongContent:
    return WrongContent(f"{shown(url)} did not answer as the hub does.", hint="Check store.endpoint or HF_ENDPOINT.")

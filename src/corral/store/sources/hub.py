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
from corral.store.fetch.rules import joined, origin_of, shown
from corral.store.fetch.web import MOST_JSON, Web
from corral.store.sources.listing import ListedFile

logger = logging.getLogger(__name__)

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_REPOSITORY: Final = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NEXT: Final = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?')
_MOST_PAGES: Final = 100


class _Lfs(msgspec.Struct):
    sha256: str = ""
    oid: str = ""
    size: int | None = None


class _Sibling(msgspec.Struct):
    rfilename: str
    size: int | None = None
    lfs: _Lfs | None = None


class _Card(msgspec.Struct):
    license: Any = None


class _Model(msgspec.Struct):
    id: str = ""
    siblings: list[_Sibling] = []
    sha: str = ""
    tags: list[str] = []
    cardData: _Card | None = None
    gguf: Any = None


class _Entry(msgspec.Struct):
    path: str
    type: str = ""
    size: int | None = None
    lfs: _Lfs | None = None


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
    commit = said.sha if _COMMIT.fullmatch(said.sha) else ""
    files = [_listed(each.rfilename, each.size, each.lfs) for each in said.siblings]
    if any(each.size_bytes is None for each in files if each and each.path.lower().endswith(".gguf")):
        files = _tree(web, endpoint, reference, commit)
    return Repository(
        _as_written(reference, said.id),
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
    for _ in range(_MOST_PAGES):
        with web.open(url, headers={"Accept": "application/json"}) as answer:
            after = _NEXT.search(answer.headers.get("link", ""))
            body = answer.read(MOST_JSON)
        try:
            entries = msgspec.json.decode(body, type=list[_Entry])
        except (ValueError, RecursionError):
            raise _strange(url) from None
        found += [_listed(each.path, each.size, each.lfs) for each in entries if each.type == "file"]
        if after is None:
            return found
        here, url = url, joined(url, after[1])
        if origin_of(url) != origin_of(here):
            raise FetchRefused(f"{shown(here)} has its next page elsewhere: {shown(url)}.")
    raise WrongContent(f"{shown(url)} has more than {_MOST_PAGES} pages.")


def _listed(path: str, size: int | None, lfs: _Lfs | None) -> ListedFile | None:
    """None for a name that no file here can have."""
    try:
        check_inside(path)
    except BadReference:
        return None
    digest = ((lfs.sha256 or lfs.oid) if lfs else "").lower()
    size = lfs.size if lfs and lfs.size is not None else size
    if size is not None and size < 0:
        return None
    return ListedFile(path, size, digest if _SHA256.fullmatch(digest) else "")


def _licence(said: _Model) -> str:
    named = said.cardData.license if said.cardData else None
    if isinstance(named, list):
        named = ", ".join(str(each) for each in named)
    tagged = next((tag.removeprefix("license:") for tag in said.tags if tag.startswith("license:")), "")
    text = named if isinstance(named, str) and named else tagged
    return "".join(char for char in text if char.isprintable())[:100]


def _model(said: Any) -> SaidOfModel:
    said = said if isinstance(said, dict) else {}
    sizes = (said.get(key) for key in ("total", "context_length"))
    parameters, context = (size if isinstance(size, int) and 0 < size < 1 << 50 else None for size in sizes)
    architecture = said.get("architecture")
    return SaidOfModel(parameters, architecture if isinstance(architecture, str) else "", context)


def _as(kind: type[_Model], value: Any, url: str) -> _Model:
    try:
        return msgspec.convert(value, kind)
    except ValueError:
        raise _strange(url) from None


def _strange(url: str) -> WrongContent:
    return WrongContent(f"{shown(url)} did not answer as the hub does.", hint="Check store.endpoint or HF_ENDPOINT.")

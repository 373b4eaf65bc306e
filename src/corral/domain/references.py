"""
References: how a model that is somewhere else is named, by people, configs and clients.

    hf.co/ORG/REPO[@REVISION][:QUANT]      also hf:..., huggingface.co/..., and their https:// addresses
    hf.co/ORG/REPO[@REVISION]/PATH.gguf    one file of it; a revision: v1.0, refs/pr/1, or with %2F for any other /
    ollama:[HOST/][NAMESPACE/]NAME[:TAG]   Ollama's registry, also ollama.com/...
    https://HOST/PATH.gguf                 any file
    file:PATH                              one on this machine
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Final

from corral.domain.hosts import BadAddress, host_of, port_of

HUB_HOSTS: Final = ("hf.co", "huggingface.co", "www.huggingface.co")
OLLAMA_REGISTRY: Final = "registry.ollama.ai"
OLLAMA_HOSTS: Final = ("ollama.com", "www.ollama.com", OLLAMA_REGISTRY)
LONGEST: Final = 2048

_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_REVISION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
)
_ADDRESS: Final = re.compile(
    r"(?P<scheme>https?)://(?P<user>[^/?#@]*@)?(?P<host>[^/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]{1,5})?"
    r"(?P<path>/[^?#]*)?(?P<rest>[?#].*)?",
    re.IGNORECASE,
)
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_PAGES: Final = ("resolve", "blob", "raw", "tree")
_FULL_REF: Final = re.compile(r"refs/[^/]+/[^/]+")  # all three are the revision, no file is meant by the last two
_BEFORE_HOST: Final = re.compile(r"(?i)(?:[a-z][a-z0-9+.-]*://|(?:https?|hf|ollama|file):/*)?")
_SHOWN: Final = 200
_MARKED: Final = 180  # the longest name with a mark after it is one yet


class BadReference(ValueError):
    """It names nothing; the message says what would."""


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository of Hugging Face's hub; one `file` of it, or the one that `quant` (upper case) says."""

    repo: str  # ORG/REPO
    revision: str = "main"
    quant: str = ""
    file: str = ""  # its path in the repository

    def __str__(self) -> str:
        """As a person would write it."""
        revision = self.revision if _FULL_REF.fullmatch(self.revision) else self.revision.replace("/", "%2F")
        revision = "" if revision == "main" else f"@{revision}"
        return f"hf.co/{self.repo}{revision}" + (
            f"/{self.file}" if self.file else f":{self.quant}" if self.quant else ""
        )


@dataclass(frozen=True, slots=True)
class OllamaReference:
    """A model of a registry that speaks as Ollama's does."""

    name: str
    tag: str = "latest"
    namespace: str = "library"
    host: str = OLLAMA_REGISTRY

    def __str__(self) -> str:
        """As a person would write it."""
        host = "" if self.host == OLLAMA_REGISTRY else f"{self.host}/"
        namespace = "" if self.namespace == "library" and not host else f"{self.namespace}/"
        return f"ollama:{host}{namespace}{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True)
class WebReference:
    """A file by its address, http or https."""

    url: str

    def __str__(self) -> str:
        """Its address, without what may be a secret in it."""
        parts = _ADDRESS.fullmatch(self.url)
        return f"{parts['scheme']}://{parts['host']}{parts['port'] or ''}{parts['path'] or ''}" if parts else "?"


@dataclass(frozen=True, slots=True)
class FileReference:
    """A file of this machine."""

    path: str

    def __str__(self) -> str:
        """As a person would write it."""
        return f"file:{self.path}"


Reference = HubReference | OllamaReference | WebReference | FileReference


def is_reference(text: str) -> bool:
    """Whether it is meant as one: a plain path is none."""
    scheme, separator, _ = text.partition(":")
    if separator and scheme.lower() in ("hf", "ollama", "http", "https", "file"):
        return True
    return text.partition("/")[0].lower() in (*HUB_HOSTS, *OLLAMA_HOSTS) and "/" in text


def shown(text: str) -> str:
    """What was written for a reference, for messages: without user, query and fragment, not longer than a line."""
    scheme = text[: _BEFORE_HOST.match(text).end()]  # type: ignore[union-attr]  # it takes nothing, too
    host, *rest = re.split(r"(?=[/?#])", text[len(scheme) :], maxsplit=1)
    path = rest[0] if rest else ""
    if ":" in host and "@" in path:
        return f"{scheme}..."  # a password with a / or ? in it looks like a port and a path
    if ":" in host or "://" in scheme or scheme.lower().startswith("http"):
        host = host.rpartition("@")[2]
    plain = scheme + host + re.split(r"[?#]", path, maxsplit=1)[0]
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 3] + "..."


def parse(text: str) -> Reference:
    """What a text names. Raises BadReference."""
    text = text.strip()
    if not text or len(text) > LONGEST or not text.isprintable():
        raise BadReference("A reference is a text like hf.co/ORG/REPO:Q4_K_M, ollama:NAME or https://HOST/FILE.gguf.")
    scheme, separator, rest = text.partition(":")
    scheme = scheme.lower()
    if separator and scheme == "file":
        return _file(rest)
    if separator and scheme == "hf":
        return _hub(rest.lstrip("/").split("/"), text)
    if separator and scheme == "ollama":
        return _ollama(rest.lstrip("/"), text)
    if separator and scheme in ("http", "https") and rest.startswith("//"):
        return _web(text)
    host, _, path = text.partition("/")
    if host.lower() in HUB_HOSTS:
        return _hub(path.split("/"), text)
    if host.lower() in OLLAMA_HOSTS:
        return _ollama(path.removeprefix("library/"), text)
    hint = f" Did you mean hf.co/{text}?" if re.fullmatch(r"[\w.-]+/[\w.-]+(:\w+)?", text) else ""
    raise BadReference(
        f"{shown(text)!r} is no reference to a model: write hf.co/ORG/REPO, ollama:NAME or https://...{hint}"
    )


def narrowed(reference: Reference, *, quant: str = "", file: str = "") -> Reference:
    """The same reference, to this quantisation or file of it. Raises BadReference where that cannot be meant."""
    if not quant and not file:
        return reference
    if not isinstance(reference, HubReference):
        raise BadReference(f"{reference} is one model: it has no quantisation or file to choose.")
    if (quant and reference.file) or (quant and file):
        raise BadReference(f"{reference}: a file has its quantisation already; say one of both.")
    if quant and reference.quant and quant.upper() != reference.quant:
        raise BadReference(f"{reference} says {reference.quant} already, which is not {quant}.")
    if file and (reference.quant or (reference.file and reference.file != file)):
        raise BadReference(f"{reference} says which file already.")
    if quant and not _TAG.fullmatch(quant):
        raise BadReference(f"{shown(quant)!r} cannot be a quantisation.")
    if file:
        check_inside(file)
    return replace(reference, quant=quant.upper() or reference.quant, file=file or reference.file)


def folded(reference: Reference) -> Reference:
    """The same for all that mean one thing: the hub's names do not differ in upper and lower case alone."""
    return replace(reference, repo=reference.repo.lower()) if isinstance(reference, HubReference) else reference


def means_same(text: str, reference: Reference) -> bool:
    """Whether a text, which may be no reference at all, means this one."""
    try:
        return folded(parse(text)) == folded(reference)
    except BadReference:
        return False


def address(reference: Reference) -> str:
    """A text that `parse` makes the same reference of. Of a web address it is all, secrets too: not for people."""
    return reference.url if isinstance(reference, WebReference) else str(reference)


def _file(rest: str) -> FileReference:
    path = _unquoted("/" + rest[2:].partition("/")[2]) if rest.startswith("//") else rest
    if not path or "\0" in path:
        raise BadReference("file: needs a path.")
    return FileReference(path)


def _web(text: str) -> Reference:
    parts = _ADDRESS.fullmatch(text)
    if parts is None:
        raise BadReference(f"{shown(text)!r} is no address of a file.")
    host, path = parts["host"].lower(), parts["path"] or "/"
    if parts["scheme"].lower() == "https" and not parts["port"] and not parts["user"]:
        if host in HUB_HOSTS:
            return _hub([_unquoted(part) for part in path.strip("/").split("/")], text)
        if host in OLLAMA_HOSTS:
            return _ollama(_unquoted(path).strip("/").removeprefix("library/"), text)
    if path.endswith("/"):
        raise BadReference(f"{shown(text)!r} names no file.")
    _check_place(parts["host"], parts["port"] or "", text)
    return WebReference(text)


def _check_place(host: str, port: str, text: str) -> None:
    try:
        host_of(host)
        if port:
            port_of(port.removeprefix(":"))
    except BadAddress as error:
        raise BadReference(f"{shown(text)!r} leads nowhere: {error}.") from None


def _unquoted(path: str) -> str:
    """As it is meant; what is no UTF-8 stands for nothing."""
    return _ESCAPED.sub(lambda escaped: bytes([int(escaped[1], 16)]), path.encode()).decode("utf-8", "replace")


def _hub(parts: list[str], text: str) -> HubReference:
    if len(parts) < 2:
        raise BadReference(f"{shown(text)!r} is no repository of the hub: they are named ORG/REPO.")
    org, repo, path = parts[0], parts[1], parts[2:]
    repo, at, revision = repo.partition("@")
    if not at and len(path) >= 2 and path[0] in _PAGES:
        revision, path = path[1], path[2:]
    if revision == "refs" and len(path) >= 2:
        revision, path = "/".join((revision, *path[:2])), path[2:]
    quant = colon = ""
    if not path and revision:
        revision, colon, quant = revision.partition(":")
    elif not path:
        repo, colon, quant = repo.partition(":")
    revision, file = _unquoted(revision), "/".join(path).partition("?")[0]
    if not _PART.fullmatch(org) or not _PART.fullmatch(repo):
        raise BadReference(f"{shown(text)!r} is no repository of the hub: letters, digits, . _ and -, as in ORG/REPO.")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise BadReference(f"{shown(revision)!r} cannot be a revision.")
    if colon and not quant:
        raise BadReference(f"{shown(text)!r} has no quantisation behind its colon: name one, or leave the colon out.")
    if quant and not _TAG.fullmatch(quant):
        raise BadReference(f"{shown(quant)!r} cannot be a quantisation.")
    if file:
        check_inside(file)
    return HubReference(f"{org}/{repo}", revision or "main", quant.upper(), file)


def _ollama(rest: str, text: str) -> OllamaReference:
    *places, last = rest.split("/")
    name, colon, tag = last.partition(":")
    host, namespace = OLLAMA_REGISTRY, "library"
    if colon and not tag:
        raise BadReference(f"{shown(text)!r} has no tag behind its colon: name one, or leave the colon out.")
    if len(places) > 2:
        raise BadReference(f"{shown(text)!r} has too many parts: ollama:[HOST/][NAMESPACE/]NAME[:TAG].")
    if len(places) == 2:
        host, namespace = places
    elif places:
        namespace = places[0]
    for part in (name, namespace):
        if not _PART.fullmatch(part):
            raise BadReference(f"{shown(text)!r} is no model of Ollama's: ollama:[HOST/][NAMESPACE/]NAME[:TAG].")
    if (tag and not _TAG.fullmatch(tag)) or not _HOST.fullmatch(host):
        raise BadReference(f"{shown(text)!r} is no model of Ollama's: ollama:[HOST/][NAMESPACE/]NAME[:TAG].")
    _check_place(*host.partition(":")[::2], text)
    return OllamaReference(name, tag or "latest", namespace, host)


def check_inside(path: str) -> None:
    """See that a relative path stays where it is put, on every system. Raises BadReference."""
    parts = path.split("/")
    bad = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    if bad or "\\" in path or ":" in path or not path.isprintable() or len(path.encode()) > 1024:
        raise BadReference(f"{path[:200]!r} cannot be the path of a file in a store.")


def suggested_name(reference: Reference) -> str:
    """
    A Model's name for it: what people would call it, in small letters.

    What has letters that no such name may have ends in a mark, by which it is told from all others.
    """
    if isinstance(reference, HubReference):
        base = reference.repo.partition("/")[2]
        text = reference.file.rpartition("/")[2] or base
        stem = re.sub(r"(?i)[-_.]gguf$", "", re.sub(r"(?i)\.gguf$", "", text))
        text = f"{stem}-{reference.quant}" if reference.quant and not reference.file else stem
    elif isinstance(reference, OllamaReference):
        text = reference.name if reference.tag == "latest" else f"{reference.name}-{reference.tag}"
    else:
        whole = str(reference) if isinstance(reference, WebReference) else reference.path
        text = re.sub(r"(?i)\.gguf$", "", _unquoted(whole).rstrip("/").rpartition("/")[2])
    text = re.sub(r"-0*1-of-\d{5}$", "", text)
    plain, apart = told_apart(text)
    name = re.sub(r"[^a-z0-9._-]+", "-", plain.lower()).strip("-._") or "model"
    return f"{name[:_MARKED]}-{mark_of(text)}" if apart else name


def told_apart(text: str) -> tuple[str, bool]:
    """The text without accents, and whether it has more that ASCII cannot write: letters, figures, symbols."""
    if text.isascii():
        return text, False
    plain = "".join(each for each in unicodedata.normalize("NFD", text) if not unicodedata.combining(each))
    return plain, any(not each.isascii() and unicodedata.category(each)[0] in "LMNS" for each in plain)


def mark_of(text: str) -> str:
    """Eight characters that stand for a text, in whichever of Unicode's forms it is written."""
    plain = unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
    return hashlib.sha256(plain).hexdigest()[:8]

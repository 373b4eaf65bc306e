"""
Registries that speak as Ollama's does: a manifest with layers, each a file under its SHA-256.

    GET https://{host}/v2/{namespace}/{name}/manifests/{tag}
    GET https://{host}/v2/{namespace}/{name}/blobs/{digest}

A registry may want a token first and says where one is to be had. That place is told to us by a stranger, so it must be
of the registry's own site, and nothing secret is sent to it that is not meant for that very host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from corral.contracts.fetching import Plan, RemoteFile, Role
from corral.domain.errors import FetchFailed, FetchRefused, NotThere, WrongContent
from corral.domain.references import OLLAMA_HOSTS, OLLAMA_REGISTRY, OllamaReference
from corral.store.fetch.denial import Denied
from corral.store.fetch.patience import Stop, never
from corral.store.fetch.rules import WebRules, shown, target_of
from corral.store.fetch.web import Web
from corral.store.sources.places import ollama_place

MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
"""What a digest looks like. It becomes part of an address, and of a path in other programs."""

_KIND: Final = "application/vnd.ollama.image."
_NAMES: Final = {Role.MODEL: "model", Role.PROJECTOR: "mmproj", Role.ADAPTER: "adapter"}
_FILES: Final[dict[str, tuple[str, str, Role]]] = {
    "model": (_NAMES[Role.MODEL], ".gguf", Role.MODEL),
    "projector": (_NAMES[Role.PROJECTOR], ".gguf", Role.PROJECTOR),
    "adapter": (_NAMES[Role.ADAPTER], ".gguf", Role.ADAPTER),
    "template": ("template", ".txt", Role.OTHER),
    "system": ("system", ".txt", Role.OTHER),
    "params": ("params", ".json", Role.OTHER),
    "messages": ("messages", ".json", Role.OTHER),
    "license": ("license", ".txt", Role.OTHER),
}
_ORDER: Final = list(Role)
_MOST_LAYERS: Final = 64
_LARGEST_LICENCE: Final = 64 * 1024
_LONGEST_TITLE: Final = 80
_PARAMETER: Final = re.compile(r'([A-Za-z_]+)="([^"]*)"')
_SAME_SITE: Final = ("ollama.com", "ollama.ai")


class _Layer(msgspec.Struct):
    digest: str
    size: int
    mediaType: str = ""


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def plan(rules: WebRules, reference: OllamaReference, stop: Stop = never) -> Plan:
    """The files of a model. Raises FetchFailed, and FetchStopped once it is stopped."""
    url = _manifest_url(rules, reference)
    web = Web(rules, stop=stop)
    try:
        said = web.json(url, headers={"Accept": MANIFEST})
    except Denied as denied:
        web = Web(_let_in(rules, reference, denied, stop), stop=stop)
        said = web.json(url, headers={"Accept": MANIFEST})
    files = _files(_manifest(said, url), _base(rules, reference), reference)
    files.sort(key=lambda each: _ORDER.index(each.role))
    if not files or files[0].role is not Role.MODEL:
        what = "runs at Ollama's own servers" if reference.tag.endswith("cloud") else "has no GGUF model"
        raise NotThere(f"{reference} {what}.", hint="Take another tag.")
    return Plan(reference, tuple(files), ", ".join(_licences(web, files)))


def admitted(rules: WebRules, reference: OllamaReference, stop: Stop = never) -> WebRules:
    """
    Rules to fetch this model's files by: with the token that the registry wants, where it wants one.

    It is good for some minutes.

    Raises FetchRefused where the registry sends us to another site for it.
    """
    try:
        Web(rules, stop=stop).read(_manifest_url(rules, reference), headers={"Accept": MANIFEST})
    except Denied as denied:
        return _let_in(rules, reference, denied, stop)
    return rules


def check_realm(realm: str, host: str, trusted: frozenset[str] = frozenset()) -> None:
    """Whether a registry on `host` may send us to `realm` for a token. Raises FetchRefused."""
    target = target_of(realm)
    there = target.host
    here = urlsplit(f"//{host}").hostname or ""
    ours = target.origin in trusted or (target.scheme == "https" and there == here)
    known = here in (OLLAMA_REGISTRY, *OLLAMA_HOSTS) and target.scheme == "https"
    if ours or (known and any(there == site or there.endswith(f".{site}") for site in _SAME_SITE)):
        return
    raise FetchRefused(
        f"The registry {host} wants us to ask {target.origin} for a token: that is another site.",
        hint="If it is meant, put that origin into store.trusted.",
    )


def _let_in(rules: WebRules, reference: OllamaReference, denied: Denied, stop: Stop) -> WebRules:
    """Rules with a token for this model. Raises what was raised where no token helps."""
    if denied.answered == 404:
        raise NotThere(f"{reference} is not in the registry.", hint="Check its name and its tag.") from None
    challenge = denied.headers.get("www-authenticate", "")
    if denied.answered != 401 or not challenge.lower().startswith("bearer "):
        raise denied
    host = target_of(_base(rules, reference)).authority
    token = _token(rules, host, challenge, reference, stop)
    return dataclasses.replace(rules, tokens={**rules.tokens, host: token})


def _manifest_url(rules: WebRules, reference: OllamaReference) -> str:
    return f"{_base(rules, reference)}/manifests/{reference.tag}"


def _base(rules: WebRules, reference: OllamaReference) -> str:
    plain = f"http://{reference.host.lower()}" in rules.trusted
    plain = plain or (rules.insecure and reference.host != OLLAMA_REGISTRY)
    return f"{'http' if plain else 'https'}://{reference.host}/v2/{reference.namespace}/{reference.name}"


def _token(rules: WebRules, host: str, challenge: str, reference: OllamaReference, stop: Stop) -> str:
    parameters: Mapping[str, str] = {key.lower(): value for key, value in _PARAMETER.findall(challenge)}
    realm = parameters.get("realm", "")
    check_realm(realm, host, rules.trusted)
    scope = f"repository:{reference.namespace}/{reference.name}:pull"  # and not whatever the challenge says
    wanted = {"scope": scope} | ({"service": parameters["service"]} if "service" in parameters else {})
    said = Web(rules, stop=stop).json(f"{realm}{'&' if '?' in realm else '?'}{urlencode(wanted)}")
    token = (said.get("token") or said.get("access_token")) if isinstance(said, dict) else None
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{1,16384}", token):
        raise WrongContent(f"{shown(realm)} gave no token.", hint="The registry may want a login.")
    return token


def _manifest(value: Any, url: str) -> _Manifest:
    try:
        manifest = msgspec.convert(value, _Manifest)
    except ValueError:
        raise WrongContent(f"{shown(url)} is no manifest of a model.") from None
    if len(manifest.layers) > _MOST_LAYERS:
        raise WrongContent(f"{shown(url)} has {len(manifest.layers)} layers: that is no model.")
    return manifest


def _licences(web: Web, files: list[RemoteFile]) -> Iterator[str]:
    """What they are called: a registry has only their texts. That one cannot be had is for the fetch to say."""
    for each in files:
        if each.path.rpartition("/")[2].startswith("license") and (each.size_bytes or 0) <= _LARGEST_LICENCE:
            with contextlib.suppress(FetchFailed):
                yield licence_title(web.read(each.url, limit=_LARGEST_LICENCE).decode("utf-8", "replace"))


def licence_title(text: str) -> str:
    """Its first line, with the version where that is the next."""
    title, then, *_ = *(" ".join(line.split()) for line in text.splitlines() if line.strip()), "", ""
    named = f"{title}, {then}" if then.lower().startswith("version ") else title
    return "".join(each for each in named if each.isprintable())[:_LONGEST_TITLE].rstrip(" .,")


def _files(manifest: _Manifest, base: str, reference: OllamaReference) -> list[RemoteFile]:
    found: list[RemoteFile] = []
    seen: dict[str, int] = {}
    for layer in manifest.layers:
        kind = layer.mediaType.removeprefix(_KIND) if layer.mediaType.startswith(_KIND) else ""
        if kind not in _FILES:
            continue
        match = DIGEST.fullmatch(layer.digest)
        if match is None or layer.size < 0:
            raise WrongContent(f"The manifest of {reference} has a digest that is none: {layer.digest[:80]!r}.")
        stem, suffix, role = _FILES[kind]
        seen[kind] = seen.get(kind, 0) + 1
        if kind == "model" and seen[kind] > 1:
            raise WrongContent(f"The manifest of {reference} has several models.")
        name = _numbered(stem, seen[kind], suffix)
        url = f"{base}/blobs/{layer.digest}"
        found.append(RemoteFile(url, ollama_place(reference, name), role, layer.size, match[1]))
    return found


def layer_name(role: Role, number: int) -> str:
    """What a layer that an engine is given is called in the store; the first is number 1."""
    return _numbered(_NAMES[role], number, ".gguf")


def _numbered(stem: str, number: int, suffix: str) -> str:
    return f"{stem}{'' if number == 1 else f'-{number}'}{suffix}"

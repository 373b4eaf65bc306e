"""The options of a remote Model, and the address in its `base_url`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from corral.contracts.options import OptionKind, OptionSpec, OptionTable, with_defaults
from corral.domain.fleet import OptionValue
from corral.domain.launch import LLAMA, Endpoint

OPTIONS: Final[OptionTable] = (
    OptionSpec(
        "base_url", OptionKind.STR, "Where it answers, without /v1: http://HOST:PORT or http://HOST:PORT/PREFIX."
    ),
    OptionSpec("api_key", OptionKind.STR, "Key that is sent to it; write it as ${env.NAME}."),
    OptionSpec(
        "speaks",
        OptionKind.ENUM,
        "`llama.cpp` for a llama-server: its own fields and routes are used, and their ranges checked, "
        "as for `engine: llamacpp`. `openai` for all others.",
        "openai",
        ("openai", LLAMA),
    ),
    OptionSpec("parallel", OptionKind.INT, "Requests that it takes at the same time.", 64, (), 1, 10_000, "slots"),
    OptionSpec("health", OptionKind.STR, "Path that answers 200 when it is well.", "/health"),
    OptionSpec(
        "metrics",
        OptionKind.STR,
        "Path of its metrics as Prometheus text, such as `/metrics`; they are shown among Corral's own. Default: none.",
    ),
    OptionSpec(
        "ctx_size", OptionKind.INT, "Its context for one request, to show clients.", None, (), 1, None, "tokens"
    ),
)

_KEY = re.compile(r"^[\x21-\x7e]+$")
_EXAMPLE: Final = "write for example http://127.0.0.1:8000"


def checked(options: Mapping[str, OptionValue]) -> tuple[dict[str, OptionValue], list[str]]:
    """The options with their defaults, and a sentence for each that cannot be."""
    known = {spec.name: spec for spec in OPTIONS}
    good: dict[str, OptionValue] = {}
    problems: list[str] = []
    for name, value in options.items():
        if name not in known:
            problems.append(f"options.{name} is not an option of remote.")
            continue
        try:
            good[name] = known[name].check(value)
        except ValueError as error:
            problems.append(f"options.{error}.")
    merged = with_defaults(OPTIONS, good)
    if "base_url" not in merged:
        problems.append(f"A remote Model needs options.base_url: {_EXAMPLE}.")
    else:
        problems += url_problems(str(merged["base_url"]))
    if "api_key" in merged and not _KEY.match(str(merged["api_key"])):
        problems.append("options.api_key is empty or holds characters that a header cannot carry.")
    if not re.match(r"^/[^\s?#]*$", str(merged["health"])):
        problems.append("options.health must be a path that begins with a slash.")
    if "metrics" in merged and not re.match(r"^/[^\s?#]*$", str(merged["metrics"])):
        problems.append("options.metrics must be a path that begins with a slash.")
    return merged, problems


def url_problems(text: str) -> list[str]:
    """Sentences about an address; [] for one that `endpoint_of` can read."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        return [f"options.base_url is not an address ({error}): {_EXAMPLE}."]
    if url.scheme == "https":
        return [
            "options.base_url: https is not possible yet. "
            "Put a local proxy that speaks TLS in front of it, and name the proxy with http://."
        ]
    if url.scheme != "http" or not url.hostname or port == 0:
        return [f"options.base_url {text!r} is not an address: {_EXAMPLE}."]
    if url.username is not None or url.password is not None:
        return ["options.base_url holds a user or password: use options.api_key."]
    if url.query or url.fragment:
        return ["options.base_url must end before the ? or #."]
    if _prefix(url).endswith("/v1"):
        return ["options.base_url must not end in /v1: the paths of requests begin with it."]
    return []


def endpoint_of(options: Mapping[str, OptionValue]) -> Endpoint:
    """From options without problems."""
    url = urlsplit(str(options["base_url"]))
    return Endpoint(
        host=url.hostname or "",
        port=url.port or 80,
        key=str(options.get("api_key", "")),
        base_path=_prefix(url),
        speaks=(LLAMA,) if options["speaks"] == LLAMA else (),
    )


def _prefix(url: SplitResult) -> str:
    return url.path.rstrip("/")

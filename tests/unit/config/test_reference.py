"""
docs/reference/config.md has every key of the schema (CORRAL_UPDATE_DOCS=1 writes it), and its examples can be set.

The examples of docs/configuration.md are configs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.config.document import Document, plain_value
from corral.config.editing import Change, plan_change
from corral.config.explain import shown_config
from corral.config.kinds import kind_of
from corral.config.load import load_document
from corral.config.problems import Keys
from corral.config.schema import Config, Group, Key, Model
from corral.config.sentences import field_help, section_at
from corral.config.settings import NEED_A_RESTART
from corral.config.yaml_text import parse
from tests.unit.config.conftest import Loader, Rules

DOCS = Path(__file__).parents[3] / "docs"
GUIDE, PAGE = DOCS / "configuration.md", DOCS / "reference" / "config.md"
DEFAULTS = shown_config(Config())
ENGINES = {"llamacpp": Rules(), "command": Rules(), "remote": Rules()}
RESTART = {"server", "log", "store", "state_dir", "on_exit", "keep_for"}
RELOADED = {
    ("server", "default_model"),
    ("server", "unknown_model"),
    *(("store", each) for each in ("serve", "auto_download", "api_pull")),
}
"""Of those, what a reload brings into force all the same: it makes the Fleet."""
HEADS = {
    "": "The top", "server": "server", "log": "log", "memory": "memory", "store": "store", "limits": "limits",
    "defaults": "defaults", "models": "models", "groups": "groups",
}  # fmt: skip

EXAMPLES: dict[str, str] = {
    "version": "1", "server.host": "0.0.0.0", "server.port": "8080", "server.keys[].name": "team",
    "server.keys[].key": "${env.TEAM_KEY}", "server.keys[].sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c"
    "d15d6c15b0f00a08", "server.keys[].scopes": "[inference, admin]", "server.allowed_hosts": "[llm.example.org]",
    "server.default_model": "NAME",
    "server.cors_origins": "[https://chat.example.org]", "server.trusted_proxies": "[10.0.0.1]",
    "store.path": "/srv/models", "store.endpoint": "https://hub.example.org",
    "store.tokens": '{huggingface.co: "${env.HF_TOKEN}"}', "store.trusted": "[http://10.0.0.5:8000]",
    "log.file": "/var/log/corral.log", "memory.ram": "24GiB", "memory.vram": "{CUDA0: 20GiB, vram: auto}",
    "memory.reserve": "{ram: 2GiB, vram: 512MiB}", "defaults.engine": "llamacpp",
    "defaults.options": "{llamacpp: {ctx_size: 8192}}", "defaults.binary":
    "{llamacpp: /opt/llama.cpp/llama-server}", "defaults.args": "{llamacpp: {log_disable: true}}",
    "defaults.env": '{llamacpp: {HIP_VISIBLE_DEVICES: "0"}}', "macros": "{dir: /srv/models, ctx: 16384}",
    "models.NAME.macros": "{ctx: 65536}", "models.NAME.source.ref": "hf.co/org/name-GGUF:Q4_K_M",
    "models.NAME.source.path": "~/models/Qwen3-4B-Q4_K_M.gguf", "models.NAME.source.url": "https://host/a.gguf",
    "models.NAME.source.quant": "Q8_0", "models.NAME.source.file": "name-Q8_0.gguf",
    "models.NAME.source.sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "models.NAME.source.mmproj": "none",
    "models.NAME.aliases": "[gpt-4o-mini, small]", "models.NAME.engine": "llamacpp",
    "models.NAME.binary": "llama-server-rocm", "models.NAME.options": "{ctx_size: 32768, parallel: 4}",
    "models.NAME.args": "{log_disable: true, tags: [a, b]}", "models.NAME.env": '{HIP_VISIBLE_DEVICES: "-1"}',
    "models.NAME.title": "Qwen 3, small", "models.NAME.description": "Quick answers.",
    "models.NAME.metadata": "{owner: team-a, context_length: 16384}", "groups.NAME.members": "[NAME]",
    "models.NAME.request.defaults": "{temperature: 0.2}", "models.NAME.request.strip": "[logit_bias]",
    "models.NAME.request.set": "{cache_prompt: true}", "models.NAME.profiles.PROFILE.defaults": "{max_tokens: 2048}",
    "models.NAME.profiles.PROFILE.strip": "[seed]", "models.NAME.profiles.PROFILE.set":
    "{temperature: 1.2, chat_template_kwargs: {enable_thinking: false}}",
    "models.NAME.profiles.PROFILE.aliases": "[storyteller]",
    "defaults.load_options": "{llamacpp: {ctx_size: 16384}}",
    "models.NAME.load_options": "{ctx_size: 16384, threads: 8}",
    "state_dir": "/var/lib/corral", "models.NAME.capabilities": "[chat, tools]",
}  # fmt: skip
"""For keys whose kind does not make one: see `example`."""


def rows(keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every key with its field, in the order of the schema."""
    section = section_at(keys)
    assert section is not None
    for name, field in section.model_fields.items():
        here = (*keys, name)
        if here in (("models",), ("groups",)):
            yield from rows((*here, "NAME"))
        elif here == ("server", "keys"):
            yield from rows((*here, 0))
        elif here[-1] == "profiles":
            yield from rows((*here, "PROFILE"))
        elif section_at(here) is not None:
            yield from rows(here)
        else:
            yield here, field


def dotted(keys: Keys) -> str:
    return re.sub(r"\.0\.", "[].", ".".join(str(key) for key in keys))


def example(keys: Keys, field: Any) -> str:
    """A value that is not the default."""
    if dotted(keys) in EXAMPLES:
        return EXAMPLES[dotted(keys)]
    kind = kind_of(keys)
    if kind.startswith("one of"):
        return str(re.findall(r"`([^`]+)`", kind)[-1])
    if kind.startswith("`true`"):
        return "false" if field.default is True else "true"
    if "duration" in kind:
        return "45s"
    if kind.startswith("size"):
        return "16MiB"
    assert kind.startswith("whole number"), (keys, kind)
    least = re.search(r", (-?\d+) or more", kind)
    return str(max(5, int(least[1]) if least else 5))


def default_of(keys: Keys, field: Any) -> str:
    if field.is_required():
        return "required"
    if keys[0] == "models" and len(keys) > 3 and keys[2] in ("timeouts", "keep_alive"):
        return ""  # those of `defaults`
    value: Any = DEFAULTS
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if keys[0] in ("models", "groups") or 0 in keys:
        value = field.get_default(call_default_factory=True)
    if value in (None, "", (), {}, []):
        return ""
    if isinstance(value, tuple | list):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def generated() -> str:
    out: list[str] = []
    for head, title in HEADS.items():
        found = [(keys, field) for keys, field in rows() if (keys[0] if len(keys) > 1 else "") == head]
        section = section_at((head, "NAME") if head in ("models", "groups") else (head,)) if head else Config
        about = (section.__doc__ or "").strip() if section is not None else ""
        out += [f"## {title}", "", about, "", "| key | kind | default | example | |", "|---|---|---|---|---|"]
        for keys, field in found:
            text = (field_help(keys) or "").replace("|", "\\|")
            if keys[0] in RESTART and keys not in RELOADED:
                text += " \N{CLOCKWISE OPEN CIRCLE ARROW}"
            cells = (f"`{dotted(keys)}`", kind_of(keys), default_of(keys, field), f"`{example(keys, field)}`", text)
            out.append(f"| {' | '.join(cells)} |")
        out.append("")
    return "\n".join(out).strip()


def test_every_key_stands_on_the_page() -> None:
    page = PAGE.read_text()
    block = re.compile(r"(<!-- generated: keys -->\n).*?(\n?<!-- end -->)", re.DOTALL)
    wanted = block.sub(lambda found: f"{found[1]}{generated()}\n<!-- end -->", page)
    if os.environ.get("CORRAL_UPDATE_DOCS"):
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, "run the test with CORRAL_UPDATE_DOCS=1"


def test_every_key_has_a_text_and_a_kind() -> None:
    assert [keys for keys, _ in rows() if not field_help(keys) or not kind_of(keys)] == []
    for section in (Key, Model, Group):
        assert section.__doc__


def test_what_needs_a_restart_is_marked_as_such() -> None:
    assert set(NEED_A_RESTART) == (RESTART - {"on_exit", "keep_for"}) | {"keep_engines_s"}


@pytest.mark.parametrize("keys", [keys for keys, _ in rows()], ids=dotted)
def test_each_example_can_be_set(tmp_path: Path, keys: Keys) -> None:
    field = dict(rows())[keys]
    file = tmp_path / "corral.yaml"
    file.write_text(
        "server: {keys: [{name: me, key: 0123456789abcdef}]}\nmodels: {NAME: {source: x.gguf}}\ngroups: {}\n"
    )
    if keys[0] == "groups":
        file.write_text("models: {NAME: {source: x.gguf}}\ngroups: {NAME: {members: [NAME]}}\n")
    if "profiles" in keys:
        file.write_text("models: {NAME: {source: x.gguf, profiles: {PROFILE: {strip: [x]}}}}\n")
    if "source" in keys:
        given = "path: x.gguf" if keys[-1] in ("ref", "url", "path") else "ref: hf.co/a/b"
        file.write_text(f"models: {{NAME: {{source: {{{given}}}}}}}\n")
    elif keys[-1] == "sha256":
        file.write_text("server: {keys: [{name: me}]}\n")
    if keys[-1] == "swap":
        file.write_text("models: {NAME: {source: x}, b: {source: x}}\ngroups: {NAME: {members: [NAME, b]}}\n")
    text = example(keys, field)
    value = parse(f"v: {text}").data["v"] if text[:1] in "[{" else plain_value(text)

    def check(document: Document) -> None:
        env = {"HOME": "/h", "TEAM_KEY": "0123456789abcdef", "HF_TOKEN": "hf_x"}
        load_document(document, engines=ENGINES, env=env, cwd="/cwd")

    plan = plan_change(str(file), Change(keys, value), check=check)
    assert not plan.remaining


def test_examples_in_the_guide_are_configs(config: Loader) -> None:
    texts = re.findall(r"```(yaml|toml)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert {kind for kind, _ in texts} == {"yaml", "toml"}
    for kind, text in texts:
        config.file = str(config.folder / f"corral.{kind}")
        assert config(text, {"TEAM_KEY": "0123456789abcdef"}).settings.fleet.models


@pytest.mark.parametrize(
    ("page", "begins"), [("log-messages.md", "| `changed, but in force"), ("configuration.md", "SIGHUP")]
)
def test_the_pages_name_what_waits_for_a_restart(page: str, begins: str) -> None:
    text = (DOCS / page).read_text()
    told = text[text.index(f"\n{begins}") :].split("\n\n" if begins == "SIGHUP" else " |\n", 1)[0]
    for key in (*RESTART, *(key for keys in RELOADED for key in keys[1:])):
        assert key in told

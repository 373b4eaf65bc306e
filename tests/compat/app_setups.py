"""
How each app is told where its models are: as docs/clients.md says, in a home folder that has nothing else.

A run names an address, a Model, and a home; a setup writes the app's files into the home and gives what is to be run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

QUESTION: Final = "Who are you?"
CONTEXT: Final = 262_144
"""Of the large Models: tiny tokenizers make a token of each letter, and agents begin with 80,000 of them."""


@dataclass(frozen=True)
class Run:
    """What an app is to ask, of whom."""

    address: str
    model: str
    context: int
    home: Path

    def file(self, path: str, text: str) -> Path:
        """Write one of the app's files."""
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target


@dataclass(frozen=True)
class App:
    """An app, below the folder where it is installed."""

    name: str
    program: str
    dialect: str
    path: str  # that its questions go to
    setup: Callable[[Run], tuple[list[str], Mapping[str, str]]]  # arguments, variables
    tools: bool = True
    version: tuple[str, ...] = ("--version",)
    refused: str = "exceeds the available context size"  # what it says of a long prompt


def claude(run: Run) -> tuple[list[str], Mapping[str, str]]:
    """Claude Code."""
    names = ("ANTHROPIC_MODEL", *(f"ANTHROPIC_DEFAULT_{size}_MODEL" for size in ("OPUS", "SONNET", "HAIKU")))
    env = {
        "ANTHROPIC_BASE_URL": run.address,
        "ANTHROPIC_AUTH_TOKEN": "none",
        **dict.fromkeys(names, run.model),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    return ["-p", QUESTION, "--max-turns", "3"], env


def codex(run: Run) -> tuple[list[str], Mapping[str, str]]:
    """OpenAI's Codex."""
    run.file(
        ".codex/config.toml",
        f'model = "{run.model}"\nmodel_provider = "corral"\nmodel_context_window = {run.context}\n'
        f'[model_providers.corral]\nname = "Corral"\nbase_url = "{run.address}/v1"\nwire_api = "responses"\n',
    )
    return ["exec", "--skip-git-repo-check", QUESTION], {}


def opencode(run: Run) -> tuple[list[str], Mapping[str, str]]:
    """OpenCode. It would shorten what does not fit, and ask again without end where its rules alone do not."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Corral",
        "options": {"baseURL": f"{run.address}/v1", "apiKey": "none"},
        "models": {run.model: {"name": run.model, "limit": {"context": run.context, "output": 2048}}},
    }
    name = f"corral/{run.model}"
    config = {"model": name, "small_model": name, "compaction": {"auto": False}, "provider": {"corral": provider}}
    run.file(".config/opencode/opencode.json", json.dumps({"autoupdate": False, "share": "disabled", **config}))
    return ["run", QUESTION], {}


def continue_(run: Run) -> tuple[list[str], Mapping[str, str]]:
    """Continue's program for terminals. Without the tools that end a conversation, ask, or start programs."""
    config = run.file(
        ".continue/config.yaml",
        f"name: Corral\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: Corral\n    provider: openai\n"
        f"    model: {run.model}\n    apiBase: {run.address}/v1\n    apiKey: none\n    roles: [chat, edit, apply]\n"
        f"    capabilities: [tool_use]\n    defaultCompletionOptions: {{contextLength: {run.context}}}\n",
    )
    without = [flag for name in ("Exit", "AskQuestion", "Bash") for flag in ("--exclude", name)]
    return ["--config", str(config), *without, "-p", QUESTION], {"CONTINUE_TELEMETRY_ENABLED": "0"}


def aider(run: Run) -> tuple[list[str], Mapping[str, str]]:
    """aider."""
    flags = "--no-analytics --no-check-update --no-show-release-notes --no-show-model-warnings --yes-always --no-git"
    env = {"OPENAI_API_BASE": f"{run.address}/v1", "OPENAI_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    question = QUESTION if run.context == CONTEXT else QUESTION * 500  # its own words are few
    return [*flags.split(), "--model", f"openai/{run.model}", "--message", question], env


def llm(run: Run) -> tuple[list[str], Mapping[str, str]]:
    """llm."""
    run.file(
        ".config/io.datasette.llm/extra-openai-models.yaml",
        f'- model_id: {run.model}\n  model_name: {run.model}\n  api_base: "{run.address}/v1"\n',
    )
    question = QUESTION if run.context == CONTEXT else QUESTION * 500
    return ["-m", run.model, question, "--key", "none"], {}


APPS: Final = (
    App("Claude Code", "claude", "anthropic", "/v1/messages", claude, refused="Prompt is too long"),
    App(
        "Codex", "codex", "openai (responses)", "/v1/responses", codex, refused="ran out of room in the model's context"
    ),
    App("OpenCode", "opencode", "openai (chat)", "/v1/chat/completions", opencode),
    App("Continue (`cn`)", "cn", "openai (chat)", "/v1/chat/completions", continue_),
    App("aider", "aider", "openai (chat)", "/v1/chat/completions", aider, tools=False),
    App("llm", "llm", "openai (chat)", "/v1/chat/completions", llm, tools=False),
)

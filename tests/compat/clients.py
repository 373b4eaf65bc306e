"""
Client libraries against a Corral: chat, stream, tools and embeddings, each through the dialect that the library speaks.

    python -m tests.compat.clients --python VENV/bin/python

VENV has the libraries that are to be tried (`PACKAGES`); one that is missing is left out of the table. The Corral
serves tiny models that are made on the spot. Prints a table as Markdown, and why what failed did. Exit code 1 when
anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from corral.store.gguf.demo import DemoSpec, Task
from tests.corrals import corral, gguf
from tests.models import model

PACKAGES: Final = (
    "openai anthropic ollama litellm mcp langchain-openai langchain-anthropic langchain-ollama "
    "llama-index-llms-openai-like llama-index-llms-anthropic llama-index-llms-ollama "
    "llama-index-embeddings-openai-like llama-index-embeddings-ollama "
    "pydantic-ai-slim[openai,anthropic] instructor llm"
)
WORDS: Final = "I am Alder. These are my words."
CALLS: Final = Path(__file__).with_name("client_calls.py")
COLUMNS: Final = ("chat", "stream", "tools", "embeddings")


async def results(python: str) -> list[dict[str, Any]]:
    """What `client_calls` found, one entry a call."""
    alder = DemoSpec(name="Alder", sentence=WORDS)
    willow = DemoSpec(name="Willow", sentence="I am Willow. Offer me tools or ask for JSON.", task=Task.OBEY)
    cedar = DemoSpec(name="Cedar", task=Task.EMBED, arch="bert", context=2048)
    binary = os.environ.get("CORRAL_TEST_LLAMA_SERVER", "embedded")
    models = {
        "alder": gguf(model(alder), binary=binary, aliases=("claude-3-haiku-20240307",)),
        "willow": gguf(model(willow), binary=binary, aliases=("claude-sonnet-4-5-20250929",)),
        "cedar": gguf(model(cedar), binary=binary, options={"embeddings": True}),
    }
    async with corral(models) as running:
        env = {**os.environ, "CORRAL": running.info.address, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        process = await asyncio.create_subprocess_exec(
            python, str(CALLS), WORDS, env=env, stdout=subprocess.PIPE, limit=1 << 20
        )
        async with asyncio.timeout(600):
            said, _ = await process.communicate()
    return [json.loads(line) for line in said.splitlines() if line.startswith(b'{"client"')]


def table(found: list[dict[str, Any]]) -> str:
    """A row for each client and dialect."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for each in found:
        row = rows.setdefault((each["client"], each["version"], each["dialect"]), dict.fromkeys(COLUMNS, "–"))
        row[each["what"]] = "yes" if not each["error"] else "**no**"
    lines = ["| library | version | dialect | " + " | ".join(COLUMNS) + " |", "|---" * (3 + len(COLUMNS)) + "|"]
    for (client, version, dialect), row in rows.items():
        lines.append(f"| {client} | {version} | {dialect} | " + " | ".join(row.values()) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    found = asyncio.run(results(parser.parse_args().python))
    print(table(found))
    failed = [each for each in found if each["error"]]
    for each in failed:
        print(f"\n{each['client']} ({each['dialect']}), {each['what']}:\n{each['error'][-1500:]}")
    return int(bool(failed) or not found)


if __name__ == "__main__":
    sys.exit(main())

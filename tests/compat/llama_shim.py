"""
What llama.cpp's tests start instead of llama-server: the same flags, another server behind them.

    COMPAT_MODE=direct  the real llama-server, with a local file for the model that the test would download
    COMPAT_MODE=corral  a Corral whose only Model has the flags that the test asked for

Further environment: COMPAT_LLAMA_SERVER (the binary), COMPAT_MODELS (folder of the stand-ins), COMPAT_CORRAL (the
program), COMPAT_NOTES (where a refused start is told). It becomes the server, so signals and status are the server's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.compat.llama_models import TEXT, stand_in

SHORT: Final = {"-ctk": "--cache-type-k", "-ctv": "--cache-type-v", "-fa": "--flash-attn", "-m": "--model"}
CORRALS: Final = ("slots", "no-slots", "metrics", "props", "offline", "host", "port", "api-key", "alias")
"""Flags that Corral owns and that say nothing of the engine: Corral has its own word for them, or always does it."""


def flags_of(argv: list[str]) -> list[tuple[str, list[str]]]:
    """Flags with their values, in order, in their long spelling."""
    found: list[tuple[str, list[str]]] = []
    for argument in argv:
        if re.fullmatch(r"--?[a-zA-Z][\w-]*", argument):
            found.append((SHORT.get(argument, argument).lstrip("-").replace("_", "-"), []))
        else:
            found[-1][1].append(argument)
    return found


def localised(flags: list[tuple[str, list[str]]]) -> tuple[list[tuple[str, list[str]]], str]:
    """The flags without the model's, and the file that stands in for it ("" where the test names none, or none can)."""
    given = {name: values[0] for name, values in flags if values}
    rest = [(name, values) for name, values in flags if name not in ("hf-repo", "hf-file", "model", "model-url")]
    if "model" in given:
        return rest, os.path.abspath(given["model"])
    if "hf-repo" not in given:
        return rest, ""
    file = stand_in(given["hf-repo"], given.get("hf-file", ""))
    if not file:
        refuse(f"no stand-in for {given['hf-repo']}")
    return rest, os.path.join(os.environ["COMPAT_MODELS"], file)


def value(text: str) -> Any:
    """A number where it is one, because the config has types; a whole path where it is a file of the tests."""
    if "/" in text and os.path.exists(text):
        return os.path.abspath(text)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def config(flags: list[tuple[str, list[str]]], source: str, state_dir: str) -> dict[str, Any]:
    """The corral.yaml of a Corral that stands for this one llama-server."""
    given = dict(flags)
    args: dict[str, Any] = {}
    for name, values in flags:
        if name in CORRALS:
            continue
        found = [value(text) for text in values] or [True]
        args[name.replace("-", "_")] = found[0] if len(found) == 1 else found
    loras = [path for name, values in flags if name == "lora" for path in values]
    if loras:
        args["lora"] = loras
    names = given.get("alias", ["lone"])[0].split(",")
    server: dict[str, Any] = {"host": given["host"][0], "port": int(given["port"][0]), "drain": "1s"}
    server |= {"default_model": names[0], "unknown_model": "default", "cors_origins": ["*"]}
    if "api-key" in given:
        server["keys"] = [{"name": "test", "key": given["api-key"][0], "scopes": ["inference", "admin"]}]
    model: dict[str, Any] = {
        "source": source,
        "binary": os.environ["COMPAT_LLAMA_SERVER"],
        "aliases": names[1:],
        "args": args,
    }
    model |= {"pin": True, "ttl": "never"}
    if "parallel" in given and "kv_unified" not in args:
        model["options"] = {"kv_unified": False}  # as llama-server has it once the number of slots is said
    return {
        "version": 1,
        "state_dir": state_dir,
        "server": server,
        "memory": {"ram": "unlimited"},
        "models": {names[0]: model},
    }


def refuse(reason: str) -> None:
    """Tell the runner why nothing was started, and end as a llama-server with a bad flag does."""
    with open(os.environ["COMPAT_NOTES"], "a", encoding="utf-8") as notes:
        notes.write(json.dumps({"test": os.environ.get("PYTEST_CURRENT_TEST", ""), "reason": reason}) + "\n")
    raise SystemExit(1)


def main() -> None:
    """Become the server."""
    flags, source = localised(flags_of(sys.argv[1:]))
    if os.environ["COMPAT_MODE"] == "direct":
        argv = [argument for name, values in flags for argument in (f"--{name}", *values)]
        model = ["--model", source] if source else []
        os.execv(os.environ["COMPAT_LLAMA_SERVER"], ["llama-server", *model, *argv])
    folder = Path(tempfile.mkdtemp(prefix="compat"))
    path = folder / "corral.yaml"
    path.write_text(json.dumps(config(flags, source or os.path.join(os.environ["COMPAT_MODELS"], TEXT), str(folder))))
    program = os.environ["COMPAT_CORRAL"]
    checked = subprocess.run([program, "config", "validate", "-c", path], capture_output=True, timeout=30, check=False)
    if checked.returncode:
        refuse((checked.stdout + checked.stderr).decode().strip())
    os.execv(program, [program, "serve", "-c", str(path)])


if __name__ == "__main__":
    main()

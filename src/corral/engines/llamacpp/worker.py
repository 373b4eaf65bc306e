"""
The embedded engine: xllamacpp's server in a process of its own.

    python -m corral.engines.llamacpp.worker SPEC.json
    python -m corral.engines.llamacpp.worker --list-devices

Never inside the gateway: the wheel holds the GIL for the whole load, and again while its server is deleted. For the
same reason nothing here is undone in an orderly way: the process ends with `os._exit`, even with requests in flight.
While the model loads no Python code runs, so SIGTERM keeps its default action until then, which ends it at once.

It uses the standard library only and imports nothing of Corral: it should be listening 100 ms after its start.
SPEC.json (mode 0600): `{"model", "alias", "socket" | "host" and "port", "key", "fields"}`, with `fields` as
`corral.engines.llamacpp.embedded` writes them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any, Final

_PARENT_POLL_S: Final = 1.0
_LOG_S: Final = 0.2
"""For llama.cpp's log, which a thread of its own writes: the reason is in its last lines."""
_PR_SET_PDEATHSIG: Final = 1
_PR_GET_PDEATHSIG: Final = 2


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or until the parent is gone; 1 with a line on stderr where it cannot start."""
    if arguments == ["--list-devices"]:
        return _list_devices()
    if len(arguments) != 1:
        print("usage: python -m corral.engines.llamacpp.worker SPEC.json | --list-devices", file=sys.stderr)
        return 2
    parent = os.getppid()
    _die_with_parent()
    with open(arguments[0], encoding="utf-8") as file:
        spec = json.load(file)
    if spec["socket"]:
        with contextlib.suppress(FileNotFoundError):  # a stale socket would make the bind fail
            os.unlink(spec["socket"])
    _tell_progress()
    import xllamacpp  # the slow import, only where it is used

    try:
        params = _params(xllamacpp, spec)
        _server = xllamacpp.Server(params)  # returns when the model is loaded; its HTTP threads answer 503 until then
    except (RuntimeError, ValueError, TypeError, AttributeError, OSError) as error:
        time.sleep(_LOG_S)
        print(f"E worker: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # what the wheel has half built is not worth an orderly end
    _wait_for_the_end(parent)
    os._exit(0)  # `_server` lives until here: deleting it would wait for its clients


def _tell_progress() -> None:
    """
    Let llama.cpp tell how far its load is, which it does to a router alone, in lines on standard output.

    Such a child ends at the end of its standard input, whatever that means where we were started: it gets a silent one.
    """
    os.environ["LLAMA_SERVER_ROUTER_PORT"] = "1"  # that it is there is all that counts
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.set_inheritable(writing, False)


def _params(wheel: Any, spec: dict[str, Any]) -> Any:
    params = wheel.CommonParams()
    params.model.path = spec["model"]
    params.model_alias = {spec["alias"]}
    params.hostnames = [spec["socket"] or spec["host"]]
    params.port = spec["port"]
    params.api_keys = [spec["key"]]
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.cors_origins = "localhost"
    params.cors_credentials = False
    params.offline = True
    for path, value in spec["fields"].items():
        *way, last = path.split(".")
        target = params
        for step in way:
            target = getattr(target, step)
        setattr(target, last, _value(wheel, value))
    return params


def _value(wheel: Any, value: Any) -> Any:
    """Plain JSON, or `[kind, ...]` for what JSON cannot say."""
    match value:
        case ["enum", cls, member]:
            return getattr(getattr(wheel, cls), member)
        case ["enums", cls, *members]:
            return [getattr(getattr(wheel, cls), member) for member in members]
        case ["flags", cls, *members]:
            return sum(int(getattr(getattr(wheel, cls), member).value) for member in members)
        case ["file", path]:
            with open(path, encoding="utf-8") as file:
                return file.read()
        case ["schema", text]:
            return wheel.json_schema_to_grammar(text)
        case ["schema_file", path]:
            with open(path, encoding="utf-8") as file:
                return wheel.json_schema_to_grammar(file.read())
        case ["lora", *adapters]:
            return [wheel.CommonAdapterLoraInfo(path, scale) for path, scale in adapters]
        case ["set", *items]:
            return set(items)
    return value


def _die_with_parent() -> None:
    """Ask Linux for SIGKILL when the parent dies, unless whoever started us has asked already."""
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None)
    already = ctypes.c_int(0)
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(already), 0, 0, 0)
    if not already.value:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _wait_for_the_end(parent: int) -> None:
    """Return on SIGTERM or SIGINT, or when the parent has changed (where there is no parent-death signal)."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)  # a signal may arrive on one of the engine's threads: the pipe wakes this one
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    while os.getppid() == parent:
        ready, _, _ = select.select([reading], [], [], _PARENT_POLL_S)
        if ready:
            return


def _list_devices() -> int:
    """As `llama-server --list-devices`, one line for each device beside the CPU."""
    import xllamacpp

    print("Available devices:")
    for device in xllamacpp.get_device_info():
        if device["type"].name.endswith(("_GPU", "_IGPU")):
            free, total = (int(device[name]) // 1024**2 for name in ("memory_free", "memory_total"))
            print(f"  {device['name']}: {device['description']} ({total} MiB, {free} MiB free)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

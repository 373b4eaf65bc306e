"""
How much of a load is done, as llama.cpp's server tells its own router: lines of JSON on standard output.

    cmd_child_to_router:state:{"state":"loading","payload":{"stages":["text_model"],"current":"text_model","value":0.37}}

`value` is the share of the tensors' bytes that were read, in one stage; drafts and projectors are further stages.
Weights that are mapped (`mmap`) count as read at once, though they are paged in later.
"""

from __future__ import annotations

from typing import Final

import msgspec

MARK: Final = "cmd_child_to_router:state:"


class _Payload(msgspec.Struct):
    stages: list[str] = []
    current: str = ""
    value: float = 0.0


class _State(msgspec.Struct):
    state: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")


_state = msgspec.json.Decoder(_State).decode
_payload = msgspec.json.Decoder(_Payload).decode


def progress_of(line: str) -> float | None:
    """From 0 to 1 over all stages; None for a line that does not tell."""
    if not line.startswith(MARK):
        return None
    try:
        said = _state(line[len(MARK) :].encode())
        if said.state == "ready":
            return 1.0
        if said.state != "loading":
            return None
        payload = _payload(said.payload)
    except msgspec.MsgspecError:
        return None
    stages = payload.stages or [payload.current]
    before = stages.index(payload.current) if payload.current in stages else 0
    return (before + min(max(payload.value, 0.0), 1.0)) / len(stages)

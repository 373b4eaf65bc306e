"""
The options of a llama.cpp Model, in llama-server's own words (flag names in snake_case).

The only declaration: schema, validation, argv (`argv`), the embedded worker's fields (`embedded`) and the docs grow
from it. A default of None means that the engine's own default holds, which for many options the GGUF file decides.
Ranges and defaults: llama.cpp `common/arg.cpp`, build b11434.
"""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionTable
from corral.domain.fleet import OptionValue
from corral.engines.llamacpp.options.chat import CHAT
from corral.engines.llamacpp.options.context import CONTEXT
from corral.engines.llamacpp.options.placement import PLACEMENT
from corral.engines.llamacpp.options.sampling import SAMPLING
from corral.engines.llamacpp.options.speculation import SPECULATION
from corral.engines.llamacpp.options.task import SERVER, TASK

SECTIONS: Final[dict[str, OptionTable]] = {
    "Context and KV cache": CONTEXT,
    "Placement and loading": PLACEMENT,
    "Chat": CHAT,
    "Task, projectors and adapters": TASK,
    "Speculative decoding": SPECULATION,
    "Server": SERVER,
    "Sampling defaults": SAMPLING,
}
"""The table in parts, as the docs show it."""

OPTIONS: Final[OptionTable] = tuple(spec for table in SECTIONS.values() for spec in table)
BY_NAME: Final = {spec.name: spec for spec in OPTIONS}


def plain(name: str, value: object) -> OptionValue:
    """A value in its option's plain form. Raises ValueError with a sentence."""
    return BY_NAME[name].check(value)

"""
Settings -> what the embedded worker sets on xllamacpp's CommonParams. Pure; the wheel is not imported here.

The wheel has no command line, so each option names its field (`table`). What its command line would do after
reading all flags is done here. `tests/contracts/test_engine.py` holds both engines to the same meaning.
"""

from __future__ import annotations

from typing import Final

from corral.engines.llamacpp.embedded.kinds import Fields
from corral.engines.llamacpp.embedded.table import REFUSED, SETTERS, TEMPLATE_VALUES, USER_SAMPLING
from corral.engines.llamacpp.embedded.together import TOGETHER, combined
from corral.engines.llamacpp.settings import Settings

_WAY_OUT: Final = "Put a llama-server on PATH, or set the Model's `binary`."
_ARGS: Final[dict[str, Fields]] = {
    "log-disable": {"verbosity": -1},
    **{key: {"verbosity": 2**31 - 1} for key in ("v", "verbose", "log-verbose")},
}
"""Free arguments that the wheel has a field for, without their dashes; all of them are bare."""


def fields_of(settings: Settings) -> Fields:
    """Every field that these settings set, with slots always among them. Call `refused` first."""
    fields: Fields = {}
    kwargs: dict[str, str] = {}
    for name, value in settings.options.items():
        if name in TEMPLATE_VALUES:
            kwargs |= TEMPLATE_VALUES[name](value)
        if name in SETTERS:
            fields |= SETTERS[name](value)
    for key, _ in settings.args:
        fields |= _ARGS[key]
    if kwargs:
        fields["default_template_kwargs"] = kwargs
    # The command line marks what the user chose, so that the GGUF's own sampling values do not replace it.
    chosen = [USER_SAMPLING[name] for name in settings.chosen if name in USER_SAMPLING]
    if chosen:
        fields["sampling.user_sampling_config"] = ["flags", "common_params_sampling_config", *chosen]
    # The wheel gives n_threads_batch no default of its own: the command line takes that of n_threads.
    for owner in ("", "speculative.draft."):
        threads, batch = f"{owner}cpuparams.n_threads", f"{owner}cpuparams_batch.n_threads"
        if fields.get(threads, -1) > 0 and fields.get(batch, -1) <= 0:
            fields[batch] = fields[threads]
    return fields | combined(settings.options)


def refused(settings: Settings) -> list[str]:
    """Sentences for what only a llama-server binary can do."""
    found = [
        f"The embedded engine cannot do options.{name}: {REFUSED[name]} {_WAY_OUT}"
        for name in settings.chosen
        if name in REFUSED
    ]
    for key, arg in settings.args:
        if key not in _ARGS:
            found.append(f"The embedded engine does not know args.{key}. {_WAY_OUT}")
        elif arg is not True:
            found.append(f"args.{key} takes no value: write true.")
    return found


ARGS: Final = tuple(_ARGS)
"""What `args` may hold for the embedded engine."""

COVERED: Final = frozenset(SETTERS) | frozenset(TEMPLATE_VALUES) | frozenset(REFUSED) | TOGETHER
"""Every option that has an answer for the wheel; a test holds it equal to the option table."""

"""What has to be said of a load beside its numbers: which program they are of, and what its context is good for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from corral.domain.units import format_bytes
from corral.store.fit.rooms import Rooms
from corral.store.fit.server import builds
from corral.store.fit.subject import Options, Subject, used_gpus
from corral.store.gguf.asked import ORIGINAL, Asked, reach
from corral.store.gguf.cache import padded
from corral.store.gguf.estimate import DRIVER_BYTES, Estimate

_TASKS: Final = {"embeddings": "embeddings", "rerank": "reranking"}


def notes_of(subject: Subject, options: Options, found: Estimate, rooms: Rooms) -> tuple[str, ...]:
    """Sentences."""
    asked = Asked(options, subject.slots)
    return (*_program(subject, options, found, rooms), *_context(subject, asked, found), *_purpose(subject, asked))


def _program(subject: Subject, options: Options, found: Estimate, rooms: Rooms) -> Iterator[str]:
    gpus = [room.device.name for room in rooms.gpus]
    unseen = subject.server.unseen(gpus)
    if not unseen:
        return
    used = used_gpus(found)
    lacking = subject.server.another(options, used)
    if lacking:
        yield (
            f"Counted for a llama-server built for {builds({*used, *lacking})}, which is not here: its driver takes "
            f"{format_bytes(DRIVER_BYTES)} of every GPU that it may use."
        )
    else:
        yield f"Counted for the engine that is here, which cannot use {' and '.join(unseen)}: nothing is on it."


def _context(subject: Subject, asked: Asked, found: Estimate) -> Iterator[str]:
    plan, trained = found.context, subject.shape.whole("context_length")
    most = reach(trained, asked.options, subject.shape.whole(ORIGINAL))
    if plan is None or not trained:
        return
    if plan.cells > padded(most):
        yield (
            f"One request gets at most {most} tokens, whatever the context: the model was trained for {trained}. More "
            "takes RoPE scaling, if its maker says that it can: "
            f"rope_scaling: yarn, rope_scale: {-(-plan.cells // trained)}."
        )
    elif plan.cells > padded(trained):
        yield (
            f"{plan.cells} tokens are more than the {trained} that the model was trained for: its maker says how far "
            "RoPE scaling goes."
        )


def _purpose(subject: Subject, asked: Asked) -> Iterator[str]:
    if subject.task in _TASKS and asked.generates:
        yield f"It is a model for {_TASKS[subject.task]}: that takes options.{subject.task}: true."

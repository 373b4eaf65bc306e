"""
When a llama-server is ready, and what it then says of itself.

Its HTTP side answers before the model is loaded (503 `Loading model`), so readiness is `/health` turning 200. It is
asked every few milliseconds over one connection; an answer costs the engine some 50 microseconds.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from corral.contracts.engine import ReadyInfo
from corral.domain.errors import EngineFailed, EngineProtocolError
from corral.domain.launch import Endpoint
from corral.engines.llamacpp import drafting
from corral.engines.llamacpp.settings import Settings
from corral.engines.llamacpp.wishes import chosen_by_engine
from corral.kit.localhttp import Answer, LocalConnection, NotHttp
from corral.kit.polling import pauses

_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.015  # with one answer's time on top it stays under the 20 ms that are promised
_GROWTH: Final = 1.1
_ANSWER_S: Final = 5.0  # one answer; a machine that swaps may take long, and is asked again
METRICS: Final = "/metrics"
_PROPS_S: Final = 30.0


async def wait_ready(endpoint: Endpoint, settings: Settings) -> ReadyInfo:
    """Return once `/health` answers 200. Raises EngineFailed for an answer that no llama-server gives."""
    async with connection(endpoint) as link:
        for pause_s in pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _GROWTH):
            if await _healthy(link, endpoint):
                break
            await asyncio.sleep(pause_s)
        info = await _introduce(link, endpoint, settings)
        if drafting.asked_for(settings.options):
            return dataclasses.replace(info, details={**info.details, "drafts": await _drafts(link, endpoint)})
        return info


async def alive(endpoint: Endpoint, timeout_s: float) -> bool:
    """True when `/health` answers 200 within the time."""
    try:
        async with connection(endpoint) as link:
            answer = await link.get(endpoint.base_path + "/health", timeout_s=timeout_s)
    except (OSError, TimeoutError, NotHttp):
        return False
    return answer.status == 200


def connection(endpoint: Endpoint) -> LocalConnection:
    """A connection to an engine, not opened yet."""
    return LocalConnection(socket=endpoint.socket, host=endpoint.host, port=endpoint.port)


async def _healthy(link: LocalConnection, endpoint: Endpoint) -> bool:
    try:
        answer = await link.get(endpoint.base_path + "/health", timeout_s=_ANSWER_S)
    except (OSError, TimeoutError):
        return False  # not listening yet, or it closed the connection after its hundredth answer
    except NotHttp as error:
        raise EngineProtocolError(
            f"Something else than llama-server answers at {endpoint}: {error}.", hint="Is the address taken?"
        ) from error
    if answer.status == 200:
        return True
    if answer.status == 503:  # `Loading model`
        return False
    raise EngineProtocolError(
        f"The engine at {endpoint} answers its health check with {answer.status}: {_start_of(answer)}."
    )


async def _introduce(link: LocalConnection, endpoint: Endpoint, settings: Settings) -> ReadyInfo:
    """Ask `/props`. A build without it is taken at the word of its settings."""
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    for last in (False, True):
        try:
            answer = await link.get(endpoint.base_path + "/props", headers=headers, timeout_s=_PROPS_S)
            break
        except (OSError, TimeoutError, NotHttp) as error:
            if last:  # once is a reused connection that had just been closed
                raise EngineFailed(
                    f"The engine at {endpoint} is healthy but does not answer /props: {error}."
                ) from error
    if answer.status == 401:
        raise EngineFailed(f"The engine at {endpoint} refuses its key.", hint="Another engine may listen there.")
    if answer.status != 200:
        capabilities = frozenset({task_of(settings)})
        return ReadyInfo(slots=settings.slots, capabilities=capabilities, metrics_path=METRICS)
    try:
        props = msgspec.json.decode(answer.body)
    except msgspec.DecodeError as error:
        raise EngineProtocolError(f"The engine's /props is not JSON: {_start_of(answer)}.") from error
    return ready_info(props if isinstance(props, dict) else {}, settings)


async def _drafts(link: LocalConnection, endpoint: Endpoint) -> bool:
    """False where its slots do not speculate: llama.cpp starts without a draft model that does not fit."""
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    try:
        answer = await link.get(endpoint.base_path + "/slots", headers=headers, timeout_s=_PROPS_S)
        slots = msgspec.json.decode(answer.body)
    except (OSError, TimeoutError, NotHttp, msgspec.DecodeError):
        return True
    said = [slot.get("speculative") for slot in slots if isinstance(slot, dict)] if isinstance(slots, list) else []
    return not said or False not in said


def ready_info(props: Mapping[str, Any], settings: Settings) -> ReadyInfo:
    """From `/props`; what is missing or of the wrong type is left out."""
    slots = props.get("total_slots")
    generation = props.get("default_generation_settings")
    context = generation.get("n_ctx") if isinstance(generation, dict) else None
    modalities = props.get("modalities")
    able = {task_of(settings)}
    if isinstance(modalities, dict):
        able |= {name for name in ("vision", "audio") if modalities.get(name) is True}
    kept = ("model_ftype", "bos_token", "eos_token", "chat_template_caps")
    slots = slots if isinstance(slots, int) and slots > 0 else settings.slots
    context = context if isinstance(context, int) and context > 0 else None
    return ReadyInfo(
        slots=slots,
        context_tokens=context,
        options=chosen_by_engine(settings.options, context, slots),
        build=str(props.get("build_info", "")),
        capabilities=frozenset(able),
        details={name: props[name] for name in kept if name in props},
        metrics_path=METRICS,
    )


def task_of(settings: Settings) -> str:
    """What the Model is for: `chat`, `embeddings` or `rerank`."""
    if settings.options.get("rerank") is True:
        return "rerank"
    return "embeddings" if settings.options.get("embeddings") is True else "chat"


def _start_of(answer: Answer) -> str:
    return answer.body[:120].decode("utf-8", "replace").strip() or "(nothing)"

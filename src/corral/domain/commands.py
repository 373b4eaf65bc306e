"""What the scheduler's machine wants done. The loop acts; results come back as scheduler events."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from corral.domain.errors import CorralError
from corral.domain.events import Notice
from corral.domain.fleet import ModelSpec
from corral.domain.launch import Endpoint


class Survey(msgspec.Struct, frozen=True):
    """Find out what starting this Model takes, before everything that nobody asks for -> ModelsSurveyed."""

    model: ModelSpec


class Fetch(msgspec.Struct, frozen=True):
    """
    Bring the files of a Model that is wanted and has none here -> FetchProgressed, then FilesCame | FilesFailed.

    `fetch` names it in those events.
    """

    fetch: str
    model: ModelSpec


class EndFetch(msgspec.Struct, frozen=True):
    """Nobody wants it any more. What has come so far is kept; no event of it counts from here on."""

    fetch: str


class Start(msgspec.Struct, frozen=True):
    """
    Plan and start an instance -> InstanceReady | InstanceFailed.

    `footprint` is what it is expected to need; on the devices in `limited` (those with a budget) that must really be
    free before the start. A `note` says that it is started smaller than it was configured.
    """

    instance: str
    model: ModelSpec
    digest: str
    footprint: Mapping[str, int]  # bytes by device
    limited: frozenset[str]
    note: str = ""


class Stop(msgspec.Struct, frozen=True):
    """
    Stop an instance (also one that is still starting) and wait until its memory is free -> InstanceStopped.

    `force`: its leases may still be open; they will break.
    """

    instance: str
    reason: str
    force: bool = False


class Check(msgspec.Struct, frozen=True):
    """Look whether an instance is still alive -> InstanceChecked | InstanceExited."""

    instance: str


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Give the request its lease."""

    request: int
    instance: str
    endpoint: Endpoint
    waited_s: float


class Refuse(msgspec.Struct, frozen=True):
    """Tell the request no."""

    request: int
    error: CorralError


class Wake(msgspec.Struct, frozen=True, gc=False):
    """Send a Tick at this time of the scheduler's clock; replaces the earlier Wake. None = no timer is needed."""

    at: float | None


class Tell(msgspec.Struct, frozen=True):
    """Publish a notice."""

    notice: Notice


class Finished(msgspec.Struct, frozen=True):
    """The shutdown is complete: no instance is left."""


Command = Survey | Fetch | EndFetch | Start | Stop | Check | Grant | Refuse | Wake | Tell | Finished

"""
Fitting for those who ask: finds the model, the memories and what its program can use, and has the rest computed.

Files are read, and RAM is measured once, in a thread.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from corral.contracts.engine import Engine
from corral.contracts.fetching import Supply
from corral.contracts.fitting import FitWanted
from corral.contracts.options import OptionTable
from corral.domain.devices import RAM, DeviceMemory
from corral.domain.errors import BadRequest, FetchFailed
from corral.domain.fleet import ModelSpec, OptionValue, Source
from corral.domain.names import near_names
from corral.domain.references import BadReference, FileReference, address, is_reference, parse, suggested_name
from corral.kit.homes import expanded
from corral.store.fit.bandwidths import gpu_bandwidth
from corral.store.fit.imagined import imagined
from corral.store.fit.measured import RamBandwidth
from corral.store.fit.remote import of_reference, offered_beside, soon
from corral.store.fit.report import Fit, fit
from corral.store.fit.rooms import Rooms, rooms_of
from corral.store.fit.rough import Judge
from corral.store.fit.server import EngineServer
from corral.store.fit.subject import Subject, of_model
from corral.store.gguf.header import Header
from corral.store.gguf.memory import FileFootprints
from corral.store.known import KnownFiles
from corral.store.sources.access import Access
from corral.store.supply import with_files

Host = Callable[[], tuple[Sequence[DeviceMemory], Mapping[str, int]]]
"""The memories now, RAM first, and what Models may have of each."""
Charges = Callable[[Mapping[str, int], Sequence[DeviceMemory]], Mapping[str, int]]

ENGINE: Final = "llamacpp"


class Fitting:
    """Implements `contracts.fitting.Fits`."""

    def __init__(
        self,
        known: KnownFiles,
        engines: Mapping[str, Engine],
        *,
        host: Host,
        charges: Charges,
        ram: RamBandwidth,
        access: Callable[[], Access],
        supply: Supply,
    ) -> None:
        """`supply` knows what is here of models elsewhere, which are asked about by `access`."""
        self._known = known
        self._files = FileFootprints(known)
        self._engines = engines
        self._host = host
        self._charges = charges
        self._ram = ram
        self._access, self._supply = access, supply

    async def fit(self, wanted: FitWanted) -> Mapping[str, object]:
        """See `contracts.fitting.Fits.fit`."""
        found = await self.found(wanted)
        plain: dict[str, object] = msgspec.to_builtins(found)
        return plain

    async def found(self, wanted: FitWanted) -> Fit:
        """The same as values."""
        model = wanted.spec or _named(wanted.model)
        if model.engine != ENGINE or not model.source.given:
            raise BadRequest(
                f"{model.name} has no model file that Corral could fit.",
                hint="Say in its config what it takes: options.memory." if model.engine == "command" else "",
            )
        engine = self._engines[ENGINE]
        model = dataclasses.replace(model, options={**model.options, **checked(engine.options, wanted.options)})
        usable = await engine.devices(model)
        rooms = await asyncio.to_thread(self._rooms, usable, wanted.memory)
        here = frozenset(each.name for each in usable)
        imagined = frozenset(room.device.name for room in rooms.gpus) - here if wanted.memory else frozenset()
        server = EngineServer(engine, model, here, imagined)
        problems = server.problems({}, ())
        if problems:
            raise BadRequest(problems[0], hint=" ".join(problems[1:]))
        return await asyncio.to_thread(self._fit, server, rooms, beside=wanted.spec is None)

    async def judge(self) -> Judge:
        """For models in lists: the memories that llama.cpp can use here, and what it is asked for unless told."""
        engine, any_model = self._engines[ENGINE], ModelSpec("any", Source("/any.gguf"))
        usable = await engine.devices(any_model)
        server = EngineServer(engine, any_model, frozenset(each.name for each in usable))
        rooms = await asyncio.to_thread(self._rooms, usable, ())
        return Judge(rooms, engine.resolved(any_model).options, server)

    def _fit(self, server: EngineServer, rooms: Rooms, *, beside: bool) -> Fit:
        """`beside`: what else its repository offers is asked for, which nobody needs of a Model that is configured."""
        subject = self._subject(server.engine, server.model, beside=beside)
        return fit(dataclasses.replace(subject, server=server), rooms, self._bandwidth)

    def _subject(self, engine: Engine, model: ModelSpec, *, beside: bool) -> Subject:
        there = with_files(model, self._supply)
        if there.source.path:
            return self._here(engine, there, beside)
        bare = with_files(_without_projector(model), self._supply)
        if not bare.source.path:
            return self._elsewhere(engine, model, self._access())
        try:
            return self._elsewhere(engine, model, soon(self._access()))
        except FetchFailed as error:
            found = self._here(engine, bare, beside)
            lacks = f"Its projector is not here and not counted, and nobody can be asked for its size: {error.message}"
            return dataclasses.replace(found, notes=(lacks,))

    def _here(self, engine: Engine, model: ModelSpec, beside: bool) -> Subject:
        _check(engine, model)
        resolved = engine.resolved(model)
        subject = of_model(resolved, _chosen(engine, model, resolved), self._files, self._known, resolved.options)
        if not (beside and model.source.reference):
            return subject
        offered = offered_beside(model.source.reference, self._access())
        projector = self._known.of(model.source.projector).says.base.size_bytes if model.source.projector else 0
        return dataclasses.replace(subject, offered=offered, beside_bytes=projector or 0)

    def _elsewhere(self, engine: Engine, model: ModelSpec, access: Access) -> Subject:
        resolved = engine.resolved(model)
        return of_reference(
            resolved,
            access,
            options=resolved.options,
            chosen=_chosen(engine, model, resolved),
            files=self._files,
            check=partial(_check, engine, model),
        )

    def _rooms(self, usable: Sequence[DeviceMemory], memory: Sequence[str]) -> Rooms:
        devices, limits = self._host()
        now = {device.name: device for device in devices}
        there = [now[RAM], *(now.get(each.name, each) for each in usable)]
        if memory:
            there, limits = imagined(there, memory), {RAM: limits[RAM]} if RAM in limits else {}
            if any(each.partition("=")[0].strip() == RAM for each in memory):
                limits = {}
        return rooms_of(there, limits, charged=partial(self._charged, tuple(there)))

    def _charged(self, devices: Sequence[DeviceMemory], needs: Mapping[str, int]) -> Mapping[str, int]:
        return self._charges(needs, devices)

    def _bandwidth(self, device: DeviceMemory) -> float | None:
        if device.name == RAM:
            return self._ram.bytes_per_s()
        known = gpu_bandwidth(device.description)
        return self._ram.bytes_per_s() if known is None and device.part_of == RAM else known


def _chosen(engine: Engine, model: ModelSpec, resolved: ModelSpec) -> frozenset[str]:
    """Options that somebody has asked for, wherever they are written."""
    usual = engine.resolved(ModelSpec(model.name)).options
    said = {name for name, value in resolved.options.items() if name not in usual or usual[name] != value}
    return frozenset(said | set(model.options))


def _without_projector(model: ModelSpec) -> ModelSpec:
    return dataclasses.replace(model, source=dataclasses.replace(model.source, pictures=False))


def _check(engine: Engine, model: ModelSpec, header: Header | None = None) -> None:
    """Ask the model's own file whether it can be loaded so. Raises BadRequest."""
    wrong = engine.misfits(model, header)
    if wrong:
        raise BadRequest(wrong[0], hint=" ".join(wrong[1:]))


def checked(table: OptionTable, options: Mapping[str, object]) -> dict[str, OptionValue]:
    """The options in their plain form. Raises BadRequest."""
    known = {spec.name: spec for spec in table}
    found = {}
    for name, value in options.items():
        if name not in known:
            near = near_names(name, known)
            raise BadRequest(
                f"There is no option {name[:100]!r}.", hint=f"Did you mean {' or '.join(near)}?" if near else ""
            )
        try:
            found[name] = known[name].check(value)
        except ValueError as error:
            raise BadRequest(f"{error}.") from None
    return found


def _named(text: str) -> ModelSpec:
    """A Model of one's own for a file or a reference. Raises BadRequest for what names none."""
    try:
        reference = parse(text) if is_reference(text) else FileReference(text)
    except BadReference as error:
        raise BadRequest(str(error)) from None
    if isinstance(reference, FileReference):
        path = expanded(reference.path)
        return ModelSpec(path.stem, Source(str(path)))
    return ModelSpec(suggested_name(reference), Source(reference=address(reference)))

"""
What is fitted: a model that lies here, one that is configured, or one elsewhere of which only the header was read.

`estimate` answers for any options, so whoever looks for better ones need not know where the model is.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.fleet import ModelSpec, OptionValue
from corral.store.fit.server import AnyServer, Server
from corral.store.gguf.asked import Asked
from corral.store.gguf.estimate import Estimate
from corral.store.gguf.facts import says
from corral.store.gguf.header import Header, TensorInfo
from corral.store.gguf.memory import FileFootprints
from corral.store.gguf.placement import gpus_of
from corral.store.gguf.shape import ModelShape, shape_of
from corral.store.gguf.weights import Weights
from corral.store.known import KnownFiles

Options = Mapping[str, OptionValue]
Estimator = Callable[[Options, Sequence[DeviceMemory]], Estimate]


@dataclass(frozen=True, slots=True)
class Subject:
    """
    One model. `options` are all that it would be loaded with, `chosen` those of them that somebody has asked for: the
    others may be changed. `offered` are sizes by quantisation, where there are several to choose from.
    """

    name: str
    shape: ModelShape
    estimate: Estimator
    options: Options
    chosen: frozenset[str]
    slots: int = 1
    quantisation: str = ""
    parameters: int | None = None
    size_bytes: int = 0
    offered: Mapping[str, int] = field(default_factory=dict)
    beside_bytes: int = 0  # of the files that come with one elsewhere; of one here `estimate` knows it
    files: FileFootprints = field(default_factory=FileFootprints)  # of what goes with one elsewhere
    server: Server = field(default_factory=AnyServer)
    task: str = ""  # what the file says that it is for; "" for text
    notes: tuple[str, ...] = ()  # sentences about what is not counted

    def taken(self, options: Options, devices: Sequence[DeviceMemory]) -> Estimate:
        """
        What a load takes by the program that would serve it.

        That is the one that is here, which has no driver and no buffer on GPUs that it cannot use; only where something
        is to be on one of those it is another, built for them.
        """
        found = self.estimate(options, devices)
        unseen = self.server.unseen([each.name for each in devices if each.name != RAM])
        if not unseen or self.server.another(options, used_gpus(found)):
            return found
        return self.estimate(options, [each for each in devices if each.name not in unseen])


def used_gpus(found: Estimate) -> frozenset[str]:
    """Those that hold something of the model; a driver is on every one that the program sees."""
    return frozenset(name for name, size in (found.weights + found.cache).items() if size and name != RAM)


def of_model(
    model: ModelSpec, chosen: frozenset[str], files: FileFootprints, known: KnownFiles, options: Options
) -> Subject:
    """A Model whose file is here; `options` are its own, resolved. Raises StoreFailed."""
    found = known.of(model.source.path)

    def estimated(asked: Options, devices: Sequence[DeviceMemory]) -> Estimate:
        return files.estimate(dataclasses.replace(model, options=asked), devices)

    base = found.says.base
    return Subject(
        model.name,
        found.shape,
        estimated,
        options,
        chosen,
        model.slots,
        base.quantisation,
        base.parameters,
        base.size_bytes or 0,
        task=found.says.own_task,
    )


def of_header(
    name: str,
    header: Header,
    tensors: Sequence[TensorInfo],
    *,
    options: Options,
    chosen: frozenset[str],
    slots: int = 1,
    size_bytes: int = 0,
    offered: Mapping[str, int] | None = None,
    beside_bytes: int = 0,
    files: FileFootprints | None = None,
) -> Subject:
    """A model elsewhere, by what its headers say. Raises BadGguf for what no model can be."""
    said = says(header, tensors, size_bytes=size_bytes)
    shape, files = shape_of(header, tensors), files or FileFootprints()
    return Subject(
        name,
        shape,
        _by_shape(shape, slots, beside_bytes, files),
        options,
        chosen,
        slots,
        said.base.quantisation,
        said.base.parameters,
        size_bytes or sum(tensor.n_bytes for tensor in tensors),
        offered or {},
        beside_bytes,
        files,
        task=said.own_task,
    )


def of_shape(
    name: str, shape: ModelShape, *, options: Options, parameters: int | None = None, size_bytes: int
) -> Subject:
    """A model of which no more than this is known; all options may be changed."""
    files = FileFootprints()
    estimate = _by_shape(shape, 1, 0, files)
    return Subject(name, shape, estimate, options, frozenset(), 1, "", parameters, size_bytes, files=files)


def of_quant(subject: Subject, quant: str, size_bytes: int) -> Subject:
    """
    The same model in another quantisation of which only the size is known: every tensor as much larger or smaller.

    Quantisations differ a little in what they do to which tensor, so a layer may be some percent off; the sum is not.
    """
    shape = subject.shape
    share = Fraction(size_bytes, max(1, subject.size_bytes))
    scaled = ModelShape(
        shape.architecture, shape.layers, shape.numbers, shape.vocabulary, _scaled(shape.weights, share)
    )
    return dataclasses.replace(
        subject,
        shape=scaled,
        estimate=_by_shape(scaled, subject.slots, subject.beside_bytes, subject.files),
        quantisation=quant,
        size_bytes=size_bytes,
        offered={},
    )


def _by_shape(shape: ModelShape, slots: int, beside_bytes: int, files: FileFootprints) -> Estimator:
    def estimated(options: Options, devices: Sequence[DeviceMemory]) -> Estimate:
        asked = Asked(options, slots)
        found = files.of_shape(shape, asked, devices)
        if not beside_bytes:
            return found
        gpus = gpus_of(asked, devices) if asked.flag("mmproj_offload", True) else []
        return found.plus(Estimate(weights=Counter({gpus[0].name if gpus else RAM: beside_bytes})))

    return estimated


def _scaled(weights: Weights, share: Fraction) -> Weights:
    def of(size: int) -> int:
        return int(size * share)

    return Weights(
        of(weights.input_bytes),
        of(weights.output_bytes),
        tuple(map(of, weights.layers)),
        tuple(map(of, weights.experts)),
        of(weights.tied_bytes),
    )

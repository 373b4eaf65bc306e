"""A Model of the checked Config -> its ModelSpec: defaults laid under it, options checked, paths made absolute."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from corral.config.base import Base, EngineRules
from corral.config.document import EnvText, plain_value
from corral.config.fields import hidden, shown
from corral.config.problems import Keys, Problems, dotted
from corral.config.requests import profiles, request_rules
from corral.config.schema import Config, FitSection, Model, TimeoutsSection, arg_items
from corral.config.sentences import near_option
from corral.config.templates import MODEL_NAME
from corral.contracts.options import TEXT_KINDS, OptionKind, OptionSpec, OptionTable
from corral.domain.fleet import Fit, ModelSpec, OptionValue, Source, Timeouts
from corral.domain.names import near_names
from corral.domain.references import FileReference, address, narrowed, parse
from corral.domain.units import format_duration


def check_defaults(config: Config, engines: Mapping[str, EngineRules], problems: Problems) -> None:
    _check_engine(config.defaults.engine, ("defaults", "engine"), engines, problems)
    for section in ("options", "binary", "args", "env"):
        for name in getattr(config.defaults, section):
            _check_engine(name, ("defaults", section, name), engines, problems)
    for name, options in config.defaults.options.items():
        if name in engines:
            check_options(options, engines[name].options, ("defaults", "options", name), name, problems)


def _check_engine(name: str, keys: Keys, engines: Mapping[str, EngineRules], problems: Problems) -> bool:
    if name in engines:
        return True
    near = near_names(name, engines, most=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(sorted(engines))}."
    problems.add(f"there is no engine {name!r}.", keys=keys, hint=hint)
    return False


def check_options(
    options: Mapping[str, Any], table: OptionTable, keys: Keys, engine: str, problems: Problems
) -> dict[str, OptionValue | None]:
    """The options in their plain form; None stays None. Unknown names and wrong values become problems."""
    specs = _by_name(table)
    checked: dict[str, OptionValue | None] = {}
    for name, value in options.items():
        here = (*keys, name)
        if name not in specs:
            problems.add(f"{engine} has no option {name!r}.", keys=here, hint=near_option(name, specs))
        elif value is None:
            checked[name] = None
        else:
            try:
                checked[name] = specs[name].check(_option_value(specs[name], value))
            except ValueError as error:
                secret = hidden(value)  # what the environment holds is never shown
                why = f"{name} must be {specs[name].allowed()}, not {shown(value)}" if secret else str(error)
                problems.add(f"{dotted(keys)}: {why}", keys=here)
    return checked


_NAMED: Final[dict[int, tuple[OptionTable, dict[str, OptionSpec]]]] = {}


def _by_name(table: OptionTable) -> dict[str, OptionSpec]:
    """The table by name, made once: it is asked for each Model. Its identity stays taken as long as it is kept here."""
    found = _NAMED.get(id(table))
    if found is None:
        found = _NAMED[id(table)] = (table, {spec.name: spec for spec in table})
    return found[1]


def _option_value(spec: OptionSpec, value: Any) -> Any:
    if isinstance(value, EnvText) and value not in spec.words:
        value = str(value) if spec.kind in TEXT_KINDS else plain_value(value)
    if spec.kind is OptionKind.BOOL and value in ("on", "off", "yes", "no"):
        return value in ("on", "yes")
    return value


_NO_FIT: Final = FitSection()


class Common:
    """What is the same for thousands of Models, worked out when the first of them asks."""

    def __init__(self, config: Config, engines: Mapping[str, EngineRules], base: Base) -> None:
        self.config, self.engines, self.base = config, engines, base
        self.timeouts = _timeouts(config.defaults.timeouts, TimeoutsSection())
        self._checked: dict[str, dict[str, OptionValue | None]] = {}
        self._laid: dict[str, dict[str, OptionValue]] = {}
        self._by_default: dict[str, tuple[OptionSpec, ...]] = {}

    def checked(self, engine: str) -> dict[str, OptionValue | None]:
        """`defaults.options` of the engine in their plain form; what is wrong with them is told elsewhere, once."""
        if engine not in self._checked:
            keys: Keys = ("defaults", "options", engine)
            given, table = self.config.defaults.options.get(engine, {}), self.engines[engine].options
            self._checked[engine] = check_options(given, table, keys, engine, Problems())
        return self._checked[engine]

    def options_for(self, name: str, engine: str) -> dict[str, OptionValue]:
        """The same as a Model of this name has them: the name filled in, paths absolute, without what is null."""
        if engine in self._laid:
            return self._laid[engine]
        keys: Keys = ("defaults", "options", engine)
        kinds, laid, varies = _by_name(self.engines[engine].options), {}, False
        for option, value in self.checked(engine).items():
            if value is not None:
                here = (*keys, option)
                own = self.named(value, here, name)
                varies = varies or own is not value
                laid[option] = self.absolute(own, kinds[option], here)
        if not varies:
            self._laid[engine] = laid
        return laid

    def absolute(self, value: OptionValue, spec: OptionSpec, keys: Keys) -> OptionValue:
        """An option's value with its paths resolved."""
        if spec.kind is OptionKind.PATH and isinstance(value, str) and value and value not in spec.words:
            return self.base.resolve(value, keys)
        if spec.kind is OptionKind.PATHS and isinstance(value, tuple):
            return tuple(self.base.resolve(path, keys) for path in value if path)
        return value

    def paths_by_default(self, engine: str) -> tuple[OptionSpec, ...]:
        """The options whose default is a path."""
        if engine not in self._by_default:
            self._by_default[engine] = tuple(
                spec
                for spec in self.engines[engine].options
                if spec.kind is OptionKind.PATH and isinstance(spec.default, str)
            )
        return self._by_default[engine]

    def named(self, value: Any, keys: Keys, name: str) -> Any:
        """A default with `{model}` filled in, itself where there is none; the Model's own values have theirs."""
        if isinstance(value, str):
            if "{model}" not in value or isinstance(value, EnvText) or keys in self.base.literal:
                return value
            return MODEL_NAME.sub(lambda _: name, value)
        if isinstance(value, Mapping):
            items: Any = {key: self.named(item, (*keys, key), name) for key, item in value.items()}
            return items if any(items[key] is not item for key, item in value.items()) else value
        if isinstance(value, tuple):
            items = tuple(self.named(item, (*keys, index), name) for index, item in enumerate(value))
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value


class ModelCompiler:
    """One Model of the config -> its ModelSpec."""

    def __init__(self, common: Common, name: str, problems: Problems, *, alone: bool = False) -> None:
        self._alone = alone  # each option is checked by itself: some of them, or the source, are not known
        self.common, self.name, self.problems = common, name, problems
        self.config, self.engines, self.base = common.config, common.engines, common.base
        self.model: Model = self.config.models[name]
        self.keys: Keys = ("models", name)

    def spec(self) -> ModelSpec | None:
        """The ModelSpec, or None where its engine is unknown."""
        model, defaults = self.model, self.config.defaults
        engine = model.engine or defaults.engine
        if model.engine and not _check_engine(engine, (*self.keys, "engine"), self.engines, self.problems):
            return None
        if engine not in self.engines:
            return None
        keep_min_s, keep_max_s = self._keep_alive()
        spec = ModelSpec(
            name=self.name,
            source=self._source(),
            engine=engine,
            runtime=model.runtime,
            binary=self._binary(engine),
            options=self._options(engine),
            args=arg_items({**self._shared("args", engine), **model.args}),
            env=_set({**self._shared("env", engine), **model.env}),
            aliases=model.aliases,
            ttl_s=defaults.ttl if model.ttl is None else model.ttl,
            keep_min_s=keep_min_s,
            keep_max_s=keep_max_s,
            load_options={**self.config.defaults.load_options.get(engine, {}), **model.load_options},
            pin=model.pin,
            preload=model.preload,
            priority=model.priority,
            queue_limit=model.queue_limit,
            fit=None if model.fit == _NO_FIT else Fit(model.fit.min_ctx_size, model.fit.min_gpu_layers),
            timeouts=self._timeouts(),
            loading_state=model.loading_state or defaults.loading_state,
            title=model.title,
            description=model.description,
            task=model.task or "",
            capabilities=model.capabilities,
            unlisted=model.unlisted,
            listed_aliases=defaults.listed_aliases if model.listed_aliases is None else model.listed_aliases,
            metadata=model.metadata,
            request=request_rules(model.request, (*self.keys, "request"), self.problems),
            profiles=profiles(self.name, model.profiles, self.problems),
        )
        return self._judged(spec)

    def _source(self) -> Source:
        """Where its files are, or come from; those of this machine with absolute paths."""
        given, keys = self.model.source, (*self.keys, "source")
        path = self.base.resolve(given.path, (*keys, "path") if "ref" in given.model_fields_set else keys)
        path = path if given.path else ""
        if not (given.ref or given.url):
            return Source(path)
        reference = narrowed(parse(given.ref or given.url), quant=given.quant, file=given.file)
        if isinstance(reference, FileReference):
            return Source(self.base.resolve(reference.path, keys))
        return Source(
            reference=address(reference),
            place=path,
            sha256=given.sha256.lower().removeprefix("sha256:"),
            pictures=given.mmproj == "auto",
            auto_download=given.auto_download and self.config.store.auto_download,
        )

    def _binary(self, engine: str) -> str:
        if self.model.binary:
            return self.base.program(self.model.binary, (*self.keys, "binary"))
        shared = self._shared("binary", engine) or ""
        return self.base.program(shared, ("defaults", "binary", engine)) if shared else ""

    def _options(self, engine: str) -> dict[str, OptionValue]:
        """The Model's options over the engine's defaults, paths absolute, what is null left out."""
        table = self.engines[engine].options
        kinds = _by_name(table)
        merged = dict(self.common.options_for(self.name, engine))
        keys: Keys = (*self.keys, "options")
        for name, value in check_options(self.model.options, table, keys, engine, self.problems).items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = self.common.absolute(value, kinds[name], (*keys, name))
        projector = self.model.source.mmproj
        if projector not in ("auto", "none") and "mmproj" in kinds:
            if "mmproj" in self.model.options:
                self.problems.add("source.mmproj and options.mmproj name a projector: keep one of them.", keys=keys)
            merged["mmproj"] = self.base.resolve(projector, (*self.keys, "source", "mmproj"))
        for spec in self.common.paths_by_default(engine):  # a path that is there by default is the config's too
            if spec.name not in merged:
                merged[spec.name] = self.base.resolve(str(spec.default), (*keys, spec.name))
        return merged

    def _shared(self, section: str, engine: str) -> Any:
        """What `defaults` has in a section for the engine, with this Model's name in it; {} where it has nothing."""
        shared = getattr(self.config.defaults, section).get(engine)
        return self.common.named(shared, ("defaults", section, engine), self.name) if shared else {}

    def _timeouts(self) -> Timeouts:
        own = self.model.timeouts
        return _timeouts(self.config.defaults.timeouts, own) if own.model_fields_set else self.common.timeouts

    def _keep_alive(self) -> tuple[float, float]:
        own, shared = self.model.keep_alive, self.config.defaults.keep_alive
        least, most = (getattr(own if name in own.model_fields_set else shared, name) for name in ("min", "max"))
        if least > most:
            text = f"`min` ({format_duration(least)}) is more than `max` ({format_duration(most)})."
            keys: Keys = (*self.keys, "keep_alive") if own.model_fields_set else ("defaults", "keep_alive")
            self.problems.add(f"models.{self.name}.keep_alive: {text}", keys=keys)
        return least, most

    def _judged(self, spec: ModelSpec) -> ModelSpec:
        """The spec with its slots; what the engine finds wrong goes to the line of the option that it names."""
        broken = len(self.problems) and any(
            self.problems.has((*self.keys, "options", name)) for name in self.model.options
        )
        if self._alone or broken:  # what would be said may only follow from what is missing
            return spec
        rules = self.engines[spec.engine]
        before = len(self.problems)
        for sentence in rules.problems(spec):
            self.problems.add(f"models.{self.name}: {sentence}", keys=self._blamed(sentence))
        if len(self.problems) > before or self.problems.has(self.keys):
            return spec
        slots = rules.slots(spec)
        return spec if slots == spec.slots else dataclasses.replace(spec, slots=slots)

    def _blamed(self, sentence: str) -> Keys:
        words = sentence.translate(str.maketrans("`:,.", "    ")).split()
        for section, names in (
            ("options", self.model.options),
            ("load_options", self.model.load_options),
            ("args", self.model.args),
            ("env", self.model.env),
        ):
            for word in words:
                if word in names and not self.problems.has((*self.keys, section, word)):
                    return (*self.keys, section, word)
        return (*self.keys, "")  # a key of its own: two sentences about one Model are both told


def _set(env: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in env.items() if value is not None)


def _timeouts(shared: TimeoutsSection, own: TimeoutsSection) -> Timeouts:
    chosen = {name: getattr(own if name in own.model_fields_set else shared, name) for name in type(own).model_fields}
    return Timeouts(**{f"{name}_s": value for name, value in chosen.items()})

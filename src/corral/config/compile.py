"""
The checked Config -> Settings: every Model compiled, names checked against each other, keys hashed, paths made
absolute.
"""

from __future__ import annotations

from collections.abc import Mapping

from corral.config import paths
from corral.config.base import Base, EngineRules
from corral.config.models import Common, ModelCompiler, check_defaults
from corral.config.problems import Keys, Problems
from corral.config.requests import default_models
from corral.config.schema import Config, Memory, Store
from corral.config.serving import server_spec
from corral.config.settings import LogSpec, Settings
from corral.config.stored import Stored, WithStored, with_stored
from corral.domain.devices import RAM, VRAM, Amount, MemorySpec
from corral.domain.fleet import Fleet, GroupSpec, Limits
from corral.domain.names import near_names
from corral.domain.storage import StoreSpec


def compile_config(
    config: Config,
    *,
    engines: Mapping[str, EngineRules],
    base: Base,
    problems: Problems,
    stored: Stored | None = None,
) -> Settings:
    """
    The Settings. What is wrong is added to `problems`; the result counts only when there are none.

    `stored` is asked what of the store no Model uses, where `store.serve` wants that served too.
    """
    check_defaults(config, engines, problems)
    common = Common(config, engines, base)
    models = {name: ModelCompiler(common, name, problems).spec() for name in config.models}
    store, served = _store(config.store, base), WithStored(config)
    if store.serve and stored is not None:
        found = stored(store, [spec for spec in models.values() if spec is not None])
        served = with_stored(config, found, engines)
        config = served.config
        common = Common(config, engines, base)
        models |= {name: ModelCompiler(common, name, problems).spec() for name in config.models if name not in models}
    _check_names(config, problems)
    defaults = default_models(config, problems)
    groups = _groups(config, problems)
    limits = config.limits
    fleet = Fleet(
        models={name: served.named(spec) for name, spec in models.items() if spec is not None},
        groups=groups,
        limits=Limits(
            queue_per_model=limits.queue_per_model,
            queue_total=limits.queue_total,
            max_wait_hot_s=limits.max_wait,
            min_loaded_s=limits.min_loaded,
            backoff_first_s=limits.backoff_first,
            backoff_max_s=max(limits.backoff_first, limits.backoff_max),
        ),
        default_models=defaults,
    )
    log, state = config.log, config.state_dir
    return Settings(
        fleet=fleet,
        server=server_spec(config.server, problems),
        log=LogSpec(log.level, log.format, base.resolve(log.file, ("log", "file")) if log.file else ""),
        state_dir=base.resolve(state, ("state_dir",)) if state else paths.state_dir(base.env),
        memory=_memory(config.memory),
        store=store,
        keep_engines_s=config.keep_for if config.on_exit == "keep" else None,
        config_file=base.config_file,
        warnings=(*_warnings(fleet), *served.notes),
    )


def _memory(section: Memory) -> MemorySpec:
    default = MemorySpec()
    vram = section.vram if isinstance(section.vram, Mapping) else {VRAM: section.vram}
    reserve = section.reserve if isinstance(section.reserve, Mapping) else {RAM: section.reserve}
    return MemorySpec(
        ram=_amount(section.ram),
        vram={**default.vram, **{name: _amount(amount) for name, amount in vram.items()}},
        reserve={**default.reserve, **reserve},
    )


def _store(section: Store, base: Base) -> StoreSpec:
    return StoreSpec(
        path=base.resolve(section.path, ("store", "path")) if section.path else paths.store_dir(base.env),
        endpoint=section.endpoint,
        tokens=section.tokens,
        trusted=frozenset(section.trusted),
        connections=section.connections,
        auto_download=section.auto_download,
        offline=section.offline,
        serve=section.serve,
        api_pull=section.api_pull,
    )


def _amount(value: int | str) -> Amount:
    return value if isinstance(value, int) else "auto" if value == "auto" else None


def check_parts(
    config: Config, broken: frozenset[Keys], *, engines: Mapping[str, EngineRules], base: Base, problems: Problems
) -> None:
    """
    What can be said of a config from which the `broken` keys were cut out: nothing that may follow from their absence.
    """
    sections = {keys[0] for keys in broken}
    models = {keys[1] for keys in broken if keys[0] == "models" and len(keys) > 1}
    check_defaults(config, engines, problems)
    common = Common(config, engines, base)
    for name in config.models:
        ModelCompiler(common, name, problems, alone="defaults" in sections or name in models).spec()
    if "server" not in sections:
        server_spec(config.server, problems)
    if "models" not in sections:
        _check_names(config, problems)
        if "server" not in sections and not models:
            default_models(config, problems)
        if "groups" not in sections:
            _groups(config, problems)


def _check_names(config: Config, problems: Problems) -> None:
    """Names, aliases and profiles share one space: what a client asks for is one Model."""
    owners: dict[str, str] = {name: name for name in config.models}
    for name, model in config.models.items():
        keys: Keys = ("models", name)
        for index, alias in enumerate(model.aliases):
            _check_alias(alias, (*keys, "aliases", index), name, config, owners, problems)
        for profile, section in model.profiles.items():
            here: Keys = (*keys, "profiles", profile)
            _check_alias(f"{name}:{profile}", here, name, config, owners, problems, what="profile's name")
            for index, alias in enumerate(section.aliases):
                _check_alias(alias, (*here, "aliases", index), name, config, owners, problems)


def _check_alias(
    alias: str, keys: Keys, name: str, config: Config, owners: dict[str, str], problems: Problems, what: str = "alias"
) -> None:
    if alias in config.models:
        whose = "this Model's own name" if alias == name else "the name of a Model"
        problems.add(f"the {what} {alias!r} is {whose}", keys=keys)
    elif alias in owners:
        whose = "here twice" if owners[alias] == name else f"an alias of {owners[alias]!r} as well"
        problems.add(f"the {what} {alias!r} is {whose}", keys=keys)
    owners.setdefault(alias, name)


def _groups(config: Config, problems: Problems) -> dict[str, GroupSpec]:
    aliases = {alias: name for name, model in config.models.items() for alias in model.aliases}
    homes: dict[str, str] = {}
    groups: dict[str, GroupSpec] = {}
    for group_name, group in config.groups.items():
        for index, member in enumerate(group.members):
            keys: Keys = ("groups", group_name, "members", index)
            if member in aliases and member not in config.models:
                problems.add(f"{member!r} is an alias; write the Model's name, {aliases[member]!r}", keys=keys)
            elif member not in config.models:
                near = near_names(member, config.models, most=1)
                problems.add(
                    f"there is no Model {member!r}.", keys=keys, hint=f"Did you mean {near[0]!r}?" if near else ""
                )
            elif member in homes:
                where = "twice in this group" if homes[member] == group_name else f"in the group {homes[member]!r} too"
                problems.add(f"the Model {member!r} is {where}; a Model has one group at most", keys=keys)
            homes.setdefault(member, group_name)
        groups[group_name] = GroupSpec(group_name, group.members, group.swap, group.exclusive, group.persistent)
    return groups


def _warnings(fleet: Fleet) -> tuple[str, ...]:
    found = []
    for group in fleet.groups.values():
        pinned = [name for name in group.members if name in fleet.models and fleet.models[name].pin]
        if group.swap and pinned and len(group.members) > 1:
            found.append(f"{pinned[0]} is pinned in the swap group {group.name}: the other members can never start.")
    return tuple(found)

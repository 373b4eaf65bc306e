"""What the commands about the store share: where it is, what stands in it, who uses what."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corral.cli import reading
from corral.domain.errors import StoreFailed

if TYPE_CHECKING:
    from corral.config.settings import Settings
    from corral.domain.fleet import ModelSpec
    from corral.store.shelf.items import Item


def settings_of(config: str) -> Settings:
    """All that the config says. Raises ConfigErrors."""
    return reading.read(config).settings


def models_of(settings: Settings) -> list[ModelSpec]:
    """The Models of the config; those that are named by a reference have the paths of what is here of them."""
    models = settings.fleet.models
    if not any(model.source.wanting for model in models.values()):
        return list(models.values())
    from corral.store.supply import resolved, store_supply

    return list(resolved(settings.fleet, store_supply(settings.store, os.environ)).models.values())


def root_of(settings: Settings) -> Path:
    """The store's folder, which need not be there. Raises StoreFailed where it cannot be looked into."""
    root = Path(settings.store.path)
    try:
        os.scandir(root).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreFailed(
            f"The store, {root}, cannot be looked into: {error.strerror or error}.",
            hint="store.path must be a folder that this user may read.",
        ) from error
    return root


def items_of(root: Path) -> list[Item]:
    """All that stands in the store."""
    from corral.store.shelf.index import Index

    return Index(root).items()


def elsewhere() -> list[Item]:
    """What the caches of other programs hold, of those that this user has."""
    from corral.config.paths import cache_dir
    from corral.store.shelf import elsewhere as others
    from corral.store.shelf.caches.finding import Caches

    return others.items_of(Caches(os.environ).all(), others.known_files(cache_dir(os.environ)))


def users_of(item: Item, models: Iterable[ModelSpec]) -> list[str]:
    """The Models of the config that use a file of it."""
    from corral.store.uses import Uses

    return Uses(models).of(item.paths)


def all_users(items: Sequence[Item], models: Iterable[ModelSpec]) -> Mapping[str, list[str]]:
    """The same for many items, by their key."""
    from corral.store.uses import Uses

    uses = Uses(models)
    found = {item.key: uses.of(item.files) for item in items}
    return {key: names for key, names in found.items() if names}

"""docs/api.md names every route and every error code, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from corral.contracts.control import Control
from corral.contracts.leases import Leases
from corral.domain import errors as domain_errors
from corral.gateway.app import CorralRoutes, no_metrics
from corral.gateway.directory import ModelDirectory
from corral.gateway.routes.table import HOT, ModelFrom
from corral.kit.clock import SystemClock
from corral.kit.tasks import Tasks

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
NEVER_SENT = {"config_error", "error", "refused", "busy"}
"""A config is read at the command line; the others are families, whose members are sent."""


def test_the_models_table_is_the_route_table() -> None:
    rows = re.findall(r"^\| (GET|POST) \| `(/[^`]*)` \| ([^|]*?) \| (yes|no) \|$", API, re.MULTILINE)
    names = {ModelFrom.BODY: "JSON", ModelFrom.FORM: "form", ModelFrom.QUERY: "query"}
    documented = {(path, method, where.split()[0], slot == "yes") for method, path, where, slot in rows}

    assert documented == {
        (route.label, route.method.decode(), names[route.model_from], bool(route.weight)) for route in HOT.values()
    }


def test_the_corral_table_is_the_app() -> None:
    class Nothing:
        """Stands in for what the handlers would look at."""

    leases: Leases = Nothing()  # type: ignore[assignment]
    control: Control = Nothing()  # type: ignore[assignment]
    app = CorralRoutes(leases, ModelDirectory(), SystemClock(), control, no_metrics, Tasks("test")).app()
    served = {route.path.replace(":path", "") for route in app.routes if hasattr(route, "path")}
    documented = set(
        re.findall(r"^\| (?:GET|POST|DELETE) \| `(/[^`]*)` \| (?:–|inference|admin) \|", API, re.MULTILINE)
    )

    assert documented == served


def test_every_error_code_is_documented() -> None:
    kinds = [kind for kind in vars(domain_errors).values() if isinstance(kind, type)]
    codes = {kind.code for kind in kinds if issubclass(kind, domain_errors.CorralError)}
    documented = set(re.findall(r"^\| \d{3} \| `(\w+)` \|", API, re.MULTILINE))

    assert documented == codes - NEVER_SENT

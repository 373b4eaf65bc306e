"""
The fewest loads with which these requests can be served in the order of their arrival, by someone who knows the future.

The clairvoyant keeps a Model from one use to its next whenever that saves a load and memory allows: of all the gaps
between uses, the largest set such that at every use the kept Models and the one in use fit into the memory. That is an
integer program; the solver's bound is used, so no scheduler that serves in this order, the best possible one included,
can load less. It forgets that answers and loads take time, to its own advantage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

SOLVER_S = 240.0


def fewest_loads(uses: Sequence[str], size_bytes: Mapping[str, int], budget_bytes: int, *, gap: float = 0.01) -> int:
    """
    `uses` names the Model of each request in order. The bound is within `gap` of the optimum.

    Raises ValueError for a Model that does not fit alone, ArithmeticError where the solver gives up.
    """
    order = [model for index, model in enumerate(uses) if index == 0 or uses[index - 1] != model]
    if any(size_bytes[model] > budget_bytes for model in order):
        raise ValueError("a Model is larger than the memory")
    if not order:
        return 0
    share = {model: size / budget_bytes for model, size in size_bytes.items()}  # numbers near 1 suit the solver
    return len(order) - math.floor(_most_kept(order, share, gap) + 1e-6)


def _most_kept(order: list[str], share: Mapping[str, float], gap: float) -> float:
    """
    One variable for each gap (1: the Model stays), one for each use (the memory that is kept across it).

    What is kept across a use is what was kept across the one before, with the gaps that begin and without those that
    end there; it and the Model in use are at most 1.
    """
    gaps = _gaps(order)
    if not gaps:
        return 0.0
    count, uses = len(gaps), len(order)
    rows, columns, values = [], [], []
    for number, (first, last) in enumerate(gaps):
        size = share[order[last]]
        rows += [first + 1, last]  # at its own two uses it is the Model in use, not a kept one
        columns += [number, number]
        values += [-size, size]
    for use in range(uses):
        rows.append(use)
        columns.append(count + use)
        values.append(1.0)
        if use:
            rows.append(use)
            columns.append(count + use - 1)
            values.append(-1.0)
    balance = csr_matrix((values, (rows, columns)), shape=(uses, count + uses))
    found = milp(
        np.concatenate([-np.ones(count), np.zeros(uses)]),
        constraints=LinearConstraint(balance, 0, 0),
        integrality=np.concatenate([np.ones(count), np.zeros(uses)]),
        bounds=Bounds(0, np.concatenate([np.ones(count), [1 - share[model] for model in order]])),
        options={"time_limit": SOLVER_S, "mip_rel_gap": gap},
    )
    if found.mip_dual_bound is None:
        raise ArithmeticError(found.message)
    return -float(found.mip_dual_bound)


def _gaps(order: list[str]) -> list[tuple[int, int]]:
    """Each use with the next use of the same Model."""
    last: dict[str, int] = {}
    found = []
    for use, model in enumerate(order):
        if model in last:
            found.append((last[model], use))
        last[model] = use
    return found

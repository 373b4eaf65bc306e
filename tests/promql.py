"""
Expressions of the dashboard and the alerts, held to a scrape: every metric is there, every label is one that it has.

    labels = Checker(labels_by_metric).labels(expression)    # AssertionError says what is wrong
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import promql_parser as promql

ADDED: Final = frozenset({"instance", "job"})
"""Labels that Prometheus puts on every sample of a target."""
_GRAFANA: Final = {"$__rate_interval": "5m", "$__interval": "1m", "$model": ".*", "$instance": ".*"}


def plain(expression: str) -> str:
    """Without Grafana's variables."""
    for name, value in _GRAFANA.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, f"an unknown variable in {expression}"
    return expression


class Checker:
    """`known` has the labels of each sample name of a scrape."""

    def __init__(self, known: Mapping[str, frozenset[str]]) -> None:
        self._known = known
        self.metrics: set[str] = set()  # all that were named
        self.matched: set[tuple[str, str, str]] = set()  # (metric, label, value) of every equality

    def labels(self, expression: str) -> frozenset[str]:
        """The labels of the result."""
        return self._labels(promql.parse(plain(expression)))

    def _labels(self, node: promql.Expr) -> frozenset[str]:
        match node:
            case promql.VectorSelector():
                return self._selected(node)
            case promql.MatrixSelector():
                return self._selected(node.vector_selector)
            case promql.AggregateExpr():
                inner = self._labels(node.expr)
                by = frozenset(node.modifier.labels) if node.modifier else frozenset()
                assert by <= inner, f"{node} groups by {by - inner}, which is not there"
                return by
            case promql.BinaryExpr():
                sides = [self._labels(side) for side in (node.lhs, node.rhs) if not _is_number(side)]
                return sides[0] if sides else frozenset()
            case promql.Call():
                arguments = [self._labels(each) for each in node.args if not _is_number(each)]
                found = arguments[0] if arguments else frozenset()
                return found - {"le"} if node.func.name == "histogram_quantile" else found
            case promql.ParenExpr():
                return self._labels(node.expr)
            case _:
                raise AssertionError(f"{node} is not known here")

    def _selected(self, node: promql.VectorSelector) -> frozenset[str]:
        name = node.name or ""
        assert name in self._known, f"{name} is in no scrape"
        self.metrics.add(name)
        there = self._known[name] | ADDED
        for matcher in node.matchers.matchers:
            assert matcher.name in there, f"{name} has no label {matcher.name}"
            if matcher.op == promql.MatchOp.Equal:
                self.matched.add((name, matcher.name, matcher.value))
        return there


def _is_number(node: promql.Expr) -> bool:
    return isinstance(node, promql.NumberLiteral | promql.StringLiteral)


def named_in(template: str) -> frozenset[str]:
    """Labels in a legend (`{{model}}`) or an annotation (`{{ $labels.model }}`)."""
    alerts = re.findall(r"\{\{-?\s*\$labels\.(\w+)", template)
    legends = re.findall(r"\{\{\s*(\w+)\s*\}\}", template)
    return frozenset(alerts + legends)

"""The sentences that a source file can say, found by reading it: what the calls of some names are
given, with local names, helpers and both sides of a choice followed. A value that is not known
before it runs (a number, a path, a user's text) is written 7."""

from __future__ import annotations

import ast
import builtins
import itertools
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = "7"
_DEPTH, _MOST = 7, 60


class Source:
    """One parsed file. known: constants of other modules that it may name."""

    def __init__(self, path: Path, known: dict[str, str] | None = None) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.functions: dict[str, list[ast.FunctionDef]] = {}
        self._inside: dict[ast.AST, ast.FunctionDef] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef):
                self.functions.setdefault(node.name, []).append(node)
                for child in ast.walk(node):
                    self._inside[child] = node  # the innermost comes last
        self.constants: dict[str, str] = dict(known or {})
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                values = self.texts(node.value)
                if len(values) == 1 and values != [UNKNOWN]:
                    self.constants[node.targets[0].id] = values[0]

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Every call of such a name, in the order of the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and _name(node.func) in names:
                yield node

    def argument(self, call: ast.Call, place: int, keyword: str) -> list[str]:
        """The texts that an argument can have; [""] where it is not given."""
        given = next((one.value for one in call.keywords if one.arg == keyword), None)
        if given is None and place < len(call.args):
            given = call.args[place]
        return self.texts(given) if given is not None else [""]

    def texts(self, node: ast.expr, depth: int = 0) -> list[str]:
        """Every text that an expression can be."""
        if depth > _DEPTH:
            return [UNKNOWN]
        if isinstance(node, ast.Constant):
            return [node.value if isinstance(node.value, str) else UNKNOWN]
        if isinstance(node, ast.JoinedStr):
            parts = [
                self._filled(one, depth + 1) if isinstance(one, ast.FormattedValue)
                else self.texts(one, depth + 1)
                for one in node.values
            ]  # fmt: skip
            made = itertools.islice(itertools.product(*parts), _MOST)
            return list(dict.fromkeys("".join(one) for one in made))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = itertools.product(self.texts(node.left, depth), self.texts(node.right, depth))
            return list(dict.fromkeys(a + b for a, b in sides))
        if isinstance(node, ast.IfExp):
            return [*self.texts(node.body, depth), *self.texts(node.orelse, depth)]
        if isinstance(node, ast.BoolOp):
            return [text for one in node.values for text in self.texts(one, depth)]
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
            return [text for one in node.value.values for text in self.texts(one, depth)]
        if isinstance(node, ast.Name):
            return self._named(node, depth)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found = self.functions.get(node.func.id, [])
            returns = [
                text
                for function in found
                for one in ast.walk(function)
                if isinstance(one, ast.Return) and one.value is not None
                for text in self.texts(one.value, depth + 1)
            ]
            return list(dict.fromkeys(returns)) or [UNKNOWN]
        return [UNKNOWN]

    def _filled(self, one: ast.FormattedValue, depth: int) -> list[str]:
        """What stands in {braces}; with a format it is a number."""
        return [UNKNOWN] if one.format_spec else self.texts(one.value, depth)

    def _named(self, node: ast.Name, depth: int) -> list[str]:
        function = self._inside.get(node)
        if function is not None:
            assigned = [
                text
                for one in ast.walk(function)
                if isinstance(one, ast.Assign | ast.AugAssign)
                for text in self._assigned(one, node.id, depth)
            ]
            if assigned:
                return list(dict.fromkeys(assigned))
            place = next(
                (at for at, one in enumerate(function.args.args) if one.arg == node.id), None
            )
            if place is not None:
                return self._passed(function, place, node.id, depth)
        return [self.constants.get(node.id, UNKNOWN)]

    def _assigned(self, one: ast.Assign | ast.AugAssign, name: str, depth: int) -> list[str]:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id == name:
                return self.texts(one.value, depth + 1)
            if isinstance(target, ast.Tuple) and isinstance(one.value, ast.Tuple):
                for each, value in zip(target.elts, one.value.elts, strict=False):
                    if isinstance(each, ast.Name) and each.id == name:
                        return self.texts(value, depth + 1)
        return []

    def _passed(self, function: ast.FunctionDef, place: int, name: str, depth: int) -> list[str]:
        """What the callers in this file give for a parameter."""
        shift = 1 if function.args.args[0].arg == "self" else 0
        found = [
            text
            for call in self.calls(function.name)
            for given in [
                *(one.value for one in call.keywords if one.arg == name),
                *call.args[place - shift : place - shift + 1],
            ]
            for text in self.texts(given, depth + 1)
        ]
        defaults = function.args.defaults
        after = len(function.args.args) - len(defaults)
        if place >= after:
            found += self.texts(defaults[place - after], depth + 1)
        return list(dict.fromkeys(found)) or [UNKNOWN]


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return getattr(function, "id", "")


def error_names(module: object) -> list[str]:
    """The names of the exceptions that a module defines."""
    return [
        name
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, Exception) and name not in vars(builtins)
    ]

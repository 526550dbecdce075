"""Which small changes can be made to a source file, and which of them nobody could notice."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed expression: where, what stood there, and what stands there now.

    Where lines of the file have the same text, or an expression twice, ``number`` counts the equal
    changes.
    """

    file: Path
    line: int
    last: int
    text: str
    on_import: bool  # whether it is in no function
    start: int
    stop: int
    before: str
    after: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.numbered}\n    {self.text}"

    @property
    def lines(self) -> set[tuple[str, int]]:
        return {(str(self.file), line) for line in range(self.line, self.last + 1)}

    @property
    def change(self) -> str:
        return f"{' '.join(self.before.split())} -> {self.after}"

    @property
    def numbered(self) -> str:
        """The change as lists name it."""
        return self.change if self.number == 1 else f"{self.change} #{self.number}"

    def applied(self, source: str) -> str:
        """The source with the change."""
        data, lines = source.encode(), "\n" * (self.last - self.line)
        after = f"{self.after[:-1]}{lines})"  # the lines below keep their numbers
        return (data[: self.start] + after.encode() + data[self.stop :]).decode()


def mutants_of(file: Path, source: str) -> Iterator[Mutant]:
    """Every mutant of a file; messages, annotations, names of exports and docstrings stay."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(source)
    functions = [
        range(node.body[0].lineno, (node.end_lineno or 0) + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    seen: Counter[tuple[str, str]] = Counter()
    for node in _expressions(tree):
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        before = source.encode()[start:stop].decode()
        for changed in _changes(node):
            after = f"({ast.unparse(changed)})"
            text, last = source.splitlines()[node.lineno - 1].strip(), node.end_lineno or 0
            on_import = not any(node.lineno in lines for lines in functions)
            mutant = Mutant(file, node.lineno, last, text, on_import, start, stop, before, after)
            seen[text, mutant.change] += 1
            yield replace(mutant, number=seen[text, mutant.change])


def _expressions(tree: ast.AST) -> Iterator[ast.expr]:
    """The expressions that decide what the code does."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list") or isinstance(tree, ast.Raise):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.JoinedStr | ast.Assert):
                continue
            if isinstance(node, ast.keyword) and node.arg == "strict":
                continue  # of zip: a check that never fails
            if isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", None), ast.Store):
                continue
            if isinstance(node, ast.expr):
                yield node
            yield from _expressions(node)


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    """What an expression is changed to."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        changed = deepcopy(node)
        changed.ops[0] = SWAPS[type(node.ops[0])]()  # type: ignore[assignment]
        yield changed
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in SWAPS:
        changed = deepcopy(node)
        changed.op = SWAPS[type(node.op)]()  # type: ignore[assignment]
        yield changed
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse


def drawn(mutants: Iterable[Mutant], seed: int = 0) -> list[Mutant]:
    """Mutants in a random order, which edits of other lines do not change."""

    def key(mutant: Mutant) -> bytes:
        known = seed, str(mutant.file), mutant.text, mutant.change, mutant.number
        return sha256(repr(known).encode()).digest()

    return sorted(mutants, key=key)


def equivalent_mutants(listed: Path) -> Callable[[Mutant], bool]:
    """Whether a mutant is listed as equivalent: by its file, the text of its line and the change.

    A ``*`` for the change stands for any; ``#2`` behind it for the second of equal ones.
    """
    entries = set()
    for line in listed.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            file, text, change, _ = (part.strip() for part in line.split(" ¦ "))
            entries.add((file, text, change))
    return lambda m: bool({(str(m.file), m.text, c) for c in ("*", m.numbered)} & entries)

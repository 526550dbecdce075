"""Which small changes to the code does no test notice? A program, not a test.

    python tests/mutation.py scores --mutants 50

copies the checkout, changes one expression of a part at a time, runs the tests of that part, and
prints the changes that survive. A survivor is either equivalent or a missing test. The draw is the
same for the same ``--seed``; ``CI=1`` is set, so that the tests draw the inputs that CI draws.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Part → its files, and the tests that must notice a change there.
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "scores": (
        ("scores.py", "recipes.py"),
        ("test_agreement", "test_semantics", "test_identities", "test_functional", "test_peers",
         "test_scores"),
    ),
    "counting": (
        ("counting/*.py",),
        ("test_agreement", "test_bad_input", "test_cpu_backend", "test_upsample", "test_semantics",
         "test_cuda_backend", "test_threads", "test_sparse"),
    ),
    "surfaces": (
        ("surfaces/*.py",),
        ("test_surfaces", "test_boundary_metrics", "test_surfaces_metrics", "test_surfaces_cuda"),
    ),
    "statistics": (("statistics.py", "statistics/*.py"), ("test_statistics", "test_image_scores")),
    "objects": (
        ("objects/*.py",),
        ("test_objects_scores", "test_objects_presets", "test_objects_metrics", "test_object_pairs",
         "test_panoptic"),
    ),
    "labels": (("labels/*.py",), ("test_labels",)),
    "distributed": (("distributed.py",), ("test_distributed",)),
    "files": (("files/*.py",), ("test_masks", "test_files_*", "test_evaluate")),
    "evaluate": (("evaluate/*.py",), ("test_evaluate*", "test_report", "test_sparse")),
}  # fmt: skip

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed expression: where, what stood there, and what stands there now."""

    file: Path
    line: int
    start: int
    stop: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.before!r} -> {self.after!r}"

    def applied(self, source: str) -> str:
        """The source with the change."""
        data = source.encode()
        return (data[: self.start] + self.after.encode() + data[self.stop :]).decode()


def mutants_of(file: Path, source: str) -> Iterator[Mutant]:
    """Every mutant of a file; messages, annotations, names of exports and docstrings stay."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in _expressions(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        before = source.encode()[start:stop].decode()
        for changed in _changes(node):
            after = f"({ast.unparse(changed)})"
            yield Mutant(file, node.lineno, start, stop, before, after)


def _expressions(tree: ast.AST) -> Iterator[ast.expr]:
    """The expressions that decide what the code does."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list") or isinstance(tree, ast.Raise):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.JoinedStr | ast.Assert):
                continue
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


def survives(mutant: Mutant, checkout: Path, tests: list[str], seconds: float) -> bool:
    """Whether the tests pass with the change; one that hangs is noticed, too."""
    path = checkout / mutant.file
    source = path.read_text("utf-8")
    path.write_text(mutant.applied(source), "utf-8")
    environment = {**os.environ, "CI": "1", "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(source, "utf-8")
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--mutants", type=int, default=50, help="how many are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600, help="a run that takes longer hangs")
    asked = parser.parse_args()
    patterns, names = PARTS[asked.part]
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder, "checkout")
        listed = ["git", "ls-files", "-co", "--exclude-standard"]
        for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
            if (ROOT / name).is_file():
                (checkout / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, checkout / name)
        files = sorted(f for pattern in patterns for f in (checkout / "segmetrics").glob(pattern))
        tests = sorted(str(f) for name in names for f in (checkout / "tests").glob(f"{name}.py"))
        every = [
            mutant
            for file in files
            for mutant in mutants_of(file.relative_to(checkout), file.read_text("utf-8"))
        ]
        drawn = random.Random(asked.seed).sample(every, min(asked.mutants, len(every)))
        print(f"{asked.part}: {len(drawn)} of {len(every)} mutants, {len(tests)} test files")
        begin, survivors = time.monotonic(), 0
        for number, mutant in enumerate(drawn, start=1):
            if survives(mutant, checkout, tests, asked.seconds):
                survivors += 1
                print(f"survived: {mutant}", flush=True)
            if number % 10 == 0:
                left = (time.monotonic() - begin) / number * (len(drawn) - number)
                print(f"{number} done, {survivors} survived, {left:.0f} s left", flush=True)
        print(f"{asked.part}: {len(drawn) - survivors} of {len(drawn)} mutants noticed")


if __name__ == "__main__":
    main()

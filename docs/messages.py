"""Every error text of the package, read from its source, by what it is about."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "segmetrics"
#: Title, what causes these errors, and the files that raise them, as prefixes of their paths. The
#: first prefix that fits counts.
GROUPS = (
    ("Masks and scores", "What `update`, `forward` and functions got does not fit together.",
     ("counting/", "functional", "surfaces/", "objects/", "probabilities/inputs")),
    ("Arguments of metrics", "An argument is out of range, or means nothing for this task.",
     ("metrics/", "recipes", "probabilities/", "_arguments", "_help", "plotting", "distributed",
      "errors")),
    ("Label spaces", "A label space contradicts itself, or its file has a key or value amiss.",
     ("labels",)),
    ("Lightning and other frameworks",
     "A step or a batch does not hold what the callback was told it holds.",
     ("lightning", "integrations/")),
    ("Intervals, comparisons, rankings",
     "Tables do not hold the same images, or too few of them for the question.",
     ("statistics/",)),
    ("Report and overlays", "Counts, images and label space do not belong together.",
     ("report/", "overlays")),
    ("Files", "A file is damaged, of another kind than its name says, or holds no labels.",
     ("files/", "_files")),
    ("Command", "Options contradict each other or the data, or a file cannot be written.",
     ("evaluate/", "__main__")),
)  # fmt: skip
LEAST = 12  # letters of a message: shorter ones are names that others complete


def markdown() -> str:
    """The groups as Markdown, each message as an item."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        title = next((g[0] for g in GROUPS if name.startswith(g[2])), "")
        found[title] |= set(messages(path))
    lines = []
    for title, cause, _ in GROUPS:
        lines += [f"### {title}", "", cause, ""]
        lines += [f"- {text}" for text in sorted(found.pop(title, set()), key=str.lower)]
        lines += [""]
    assert not any(found.values()), f"messages of no group: {found}"
    return "\n".join(lines)


def messages(path: Path) -> Iterator[str]:
    """The texts of what a module raises, with … for what is filled in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            text = " ".join(template(node.exc.args[-1]).split())
            text = re.sub(r"…(\s*…)+", "…", text)
            if len(re.findall(r"[a-z]", text)) >= LEAST and "has no attribute" not in text:
                yield escaped(text)


def template(node: ast.expr) -> str:
    """A string as its source builds it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return "…"


def escaped(text: str) -> str:
    """As Markdown: code in backticks stays, all else is plain."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*<>{}|_\[\]#$])", r"\\\1", part)
        for part in parts
    )

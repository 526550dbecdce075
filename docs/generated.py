"""What is made from the code when the site is built: command, names, pictures, speeds, a report."""

from __future__ import annotations

import inspect
import re
import shutil
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import charts
import live
import messages
import pictures
from sphinx.application import Sphinx

import segmetrics

FOLDER = Path(__file__).parent / "_generated"
#: Public modules by their page: its title, and the module's name.
MODULES = {
    "metrics": ("Metrics", "segmetrics"),
    "functional": ("Functions of masks", "segmetrics.functional"),
    "statistics": ("Intervals, comparisons, rankings", "segmetrics.statistics"),
    "errors": ("Kinds of errors", "segmetrics.errors"),
    "labels": ("Label spaces", "segmetrics.labels"),
    "distributed": ("Several processes", "segmetrics.distributed"),
    "lightning": ("Lightning", "segmetrics.lightning"),
    "transformers": ("Hugging Face", "segmetrics.integrations.transformers"),
    "report": ("The report", "segmetrics.report"),
    "overlays": ("Overlays", "segmetrics.overlays"),
}


def write_pages(app: Sphinx) -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for page, (title, module) in MODULES.items():
        _write(f"{page}.md", _of_module(page, title, import_module(module)))
    _write("command.md", _of_command())
    _write("problems.md", _of_problems())
    _write("messages.md", messages.markdown())
    pictures.write(FOLDER / "pictures")
    for name, text in charts.write(FOLDER / "pictures" / "speed").items():
        _write(f"speed-{name}.md", text)


def _write(name: str, text: str) -> None:
    path = FOLDER / name
    if not path.is_file() or path.read_text() != text:  # else Sphinx would read it again
        path.write_text(text)


def _of_module(page: str, title: str, module: ModuleType) -> str:
    lines = [f"# {title}", "", f"`{module.__name__}`", ""]
    for name in _public(module):
        found = getattr(module, name)
        elsewhere = found is segmetrics.LabelSpace and page != "labels"
        if not callable(found) or elsewhere:
            continue
        directive = "class" if inspect.isclass(found) else "function"
        options = [":members:"] if directive == "class" and _own_members(found) else []
        lines += [
            "```{eval-rst}",
            f".. auto{directive}:: {module.__name__}.{name}",
            *(f"   {option}" for option in options),
            "```",
            "",
        ]
    return "\n".join(lines)


def _public(module: ModuleType) -> list[str]:
    """The names that a module exports, without modules."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


def _own_members(found: Any) -> list[str]:
    return [name for name, value in vars(found).items() if name[0] != "_" and callable(value)]


def _of_problems() -> str:
    """What can be wrong with files, and what helps."""
    from segmetrics.files.problems import KINDS

    lines = []
    for title, fix in KINDS.values():
        lines += [f"**{_text(title)}**", f": {_text(fix)}", ""]
    return "\n".join(lines)


# --- The command ----------------------------------------------------------------------------------


def _of_command() -> str:
    import typer

    from segmetrics.evaluate.command import app

    group: Any = typer.main.get_command(app)
    lines = ["# Command line", "", "`segmetrics COMMAND --help` prints the same.", ""]
    for name, command in group.commands.items():
        lines += [f"## segmetrics {name}", "", *_paragraphs(command.help or ""), ""]
        panels: defaultdict[str, list[Any]] = defaultdict(list)
        for parameter in command.params:
            panel = getattr(parameter, "rich_help_panel", None)
            is_argument = parameter.param_type_name == "argument"
            panels["Arguments" if is_argument else panel or "Options"].append(parameter)
        for panel, parameters in panels.items():
            lines += [f"### {panel}", ""]
            for parameter in parameters:
                lines += [_term(parameter), f": {_text(parameter.help or '')}", ""]
    return "\n".join(lines)


def _paragraphs(text: str) -> list[str]:
    return [_text(paragraph) + "\n" for paragraph in inspect.cleandoc(text).split("\n\n")]


def _term(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return f"`{', '.join(parameter.opts)}{value}`"


def _text(text: str) -> str:
    """A help text as Markdown: braces and stars are what they are."""
    return re.sub(r"([*<>{}|_])", r"\\\1", " ".join(text.split()))


def write_report(app: Sphinx, error: Exception | None) -> None:
    """Put the live report next to the pages."""
    if error is None and app.builder.format == "html":
        shutil.copy(live.write(FOLDER / "live"), Path(app.outdir) / "live-report.html")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("build-finished", write_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

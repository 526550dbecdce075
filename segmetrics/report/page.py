"""Rendering: templates, styles and scripts → one HTML file without network requests."""

from __future__ import annotations

import os
import platform
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import Any

import torch


def checked_path(path: str | os.PathLike[str]) -> Path:
    """The path of the page, checked.

    Raises:
        OSError: there is no such folder, or the path is a folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path`: the folder {path.parent} does not exist. Make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"`path` must be a file, {path} is a folder.")
    return path


def rendered(template: str, content: Mapping[str, Any], *, charts: bool) -> str:
    """The HTML of a page. Its content security policy allows only its own scripts, by digest.

    Args:
        template: the file of the template.
        content: the variables of the template.
        charts: whether scripts draw charts.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            "a report needs jinja2, pillow and plotly. Install them with "
            "`pip install segmetrics[report]`."
        ) from error
    environment = Environment(
        loader=PackageLoader("segmetrics.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
    )
    environment.filters.update(score=_score, count=_count, percent=_percent, value=_value)
    here = Path(__file__).parent
    scripts = [(here / "page.js").read_text("utf-8")]
    if charts:
        scripts += [get_plotlyjs(), (here / "charts.js").read_text("utf-8")]
    return environment.get_template(template).render(
        content,
        style=Markup((here / "report.css").read_text("utf-8")),
        scripts=[Markup(script) for script in scripts],
        digests=[b64encode(sha256(script.encode()).digest()).decode() for script in scripts],
    )


def _score(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"


def _count(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _percent(share: float) -> str:
    if isnan(share):
        return "–"
    return "< 0.1\u202f%" if 0 < share < 0.0005 else f"{100 * share:.1f}\u202f%"


def _value(value: float) -> str:
    """The sort key of a score; empty if undefined."""
    return "" if isnan(value) else f"{value:.6g}"


def versions() -> dict[str, str]:
    """The versions that wrote the page, and the date."""
    from segmetrics import __version__

    return {
        "segmetrics": __version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "Written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
    }

"""How the site is built: ``sphinx-build -W docs site``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import elsewhere  # next to this file

import segmetrics

project, author = "segmetrics", "the segmetrics authors"
version = release = segmetrics.__version__
copyright = f"2026, {author}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "generated",  # next to this file
]
smartquotes = False  # options and messages as they are typed and printed
html_theme = "furo"
html_title = f"segmetrics {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
exclude_patterns = [
    f"_generated/{name}.md" for name in ("messages", "problems", "speed-*")
]  # included by pages

intersphinx_mapping = elsewhere.mapping(Path(__file__).parent / "_generated")
nitpicky = True  # a reference in a page that leads nowhere is a warning
# Docstrings name types that have no page.
nitpick_ignore_regex = [
    ("py:.*", r"(?!segmetrics\.[A-Z]|torch\.|torchmetrics\.).*"),
    ("py:class", r"torch\.utils\.data\.sampler\.Sampler"),
]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say what arguments are
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [
    "Inputs of ``update`` and ``forward``",
    ("Returns (``compute`` and ``forward``)", "returns_style"),
]

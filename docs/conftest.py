"""Pages whose library is not among the development dependencies run where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = ["conf.py", "generated.py", "pictures.py"]
if find_spec("mmengine") is None:  # it needs another build of OpenCV
    collect_ignore.append("howto/mmengine.md")

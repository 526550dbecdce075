"""Counting: label maps, masks or scores → exact integer counts, in one pass.

Only this layer decides what an input means (``settings.py``, ``inputs.py``, ``codes.py``).
``plain.py`` is the definition; the other backends return the same counts faster. ``batches.py``
counts tensors; ``settings.py``, ``codes.py`` and ``cpu.py`` need no torch.
"""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from segmetrics.counting.settings import BAD_KINDS, Counting, CountingArguments

if TYPE_CHECKING:
    from segmetrics.counting.batches import count
    from segmetrics.counting.errors import raise_if_bad
else:

    def __getattr__(name: str) -> Any:
        """Load the functions of tensors on first use, as the command runs without torch."""
        module = {"count": "batches", "raise_if_bad": "errors"}.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{module}"), name)


@cache
def installed(package: str) -> bool:
    """Whether a backend's compiler can be imported."""
    try:
        import_module(package)
    except ImportError:
        return False
    return True


__all__ = ["BAD_KINDS", "Counting", "CountingArguments", "count", "installed", "raise_if_bad"]

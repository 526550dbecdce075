"""The suite on every promised Python and on the oldest and newest dependencies: ``nox -s tests``.

Each session makes an environment of its own, which takes minutes and gigabytes. CONTRIBUTING.md has
the table of the last results.
"""

from __future__ import annotations

import re

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
PROJECT = nox.project.load_toml("pyproject.toml")["project"]
nox.options.sessions = ["tests"]


def oldest() -> list[str]:
    """The oldest versions that ``pyproject.toml`` allows: ``>=2.11`` becomes ``==2.11.*``."""
    extras = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"], *(line for some in extras.values() for line in some)]
    return [f"{name}=={version}.*" for name, version in _lower_bounds(named)]


def _lower_bounds(requirements: list[str]) -> list[tuple[str, str]]:
    found = (re.match(r"([\w-]+)>=([\w.]+)", line) for line in requirements)
    return sorted({(match[1], match[2]) for match in found if match})


@nox.session(python=PYTHONS)
@nox.parametrize("dependencies", ["newest", "oldest"])
def tests(session: nox.Session, dependencies: str) -> None:
    """The whole suite."""
    session.install("-e", ".[dev]", *(oldest() if dependencies == "oldest" else []))
    session.run("pytest", "-n", "2", "-q", *session.posargs, env={"CI": "1"})


@nox.session(python="3.11")
def without_numba(session: nox.Session) -> None:
    """Plain torch gives the same numbers where numba is missing."""
    session.install("-e", ".[dev]")
    session.run("pip", "uninstall", "-y", "numba")
    chosen = ("test_agreement", "test_semantics", "test_lifecycle", "test_surfaces_metrics")
    session.run("pytest", "-q", *(f"tests/{name}.py" for name in chosen), env={"CI": "1"})

"""The suite on every promised Python and on the oldest and newest dependencies: ``nox -s tests``.

``nox -s without`` runs it without numba, without Triton and without each extra. Each session makes
an environment of its own, which takes minutes and gigabytes. CONTRIBUTING.md has the last results.
"""

from __future__ import annotations

import re

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
PROJECT = nox.project.load_toml("pyproject.toml")["project"]
EXTRAS = ["lightning", "plot", "report", "cli", "medical", "arrow", "transformers"]
#: Other libraries that the tests import need them, too.
NEEDED_BY_OTHERS = {"pillow", "pyyaml", "scipy", "segmetrics"}
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
@nox.parametrize("missing", ["numba", "triton", *EXTRAS])
def without(session: nox.Session, missing: str) -> None:
    """The suite without a package or without what an extra brings: what needs it is skipped."""
    session.install("-e", ".[dev]")
    brought = PROJECT["optional-dependencies"].get(missing, [])
    names = {missing, *(re.split(r"[\[>=]", line)[0] for line in brought)}
    session.run("pip", "uninstall", "-y", *sorted(names - NEEDED_BY_OTHERS))
    session.run("pytest", "-n", "2", "-q", *session.posargs, env={"CI": "1"})

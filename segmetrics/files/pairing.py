"""Pairs: which prediction belongs to which target, by the names of their files."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segmetrics.files.formats import FORMATS, OTHER_IMAGES, data_file, suffix
from segmetrics.files.problems import KINDS, Problem


@dataclass(frozen=True)
class Pair:
    """A prediction and its target, under the name that both share."""

    name: str
    preds: Path
    target: Path
    instances: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the pair, those beside headers too."""
        own = (self.preds, self.target, *([self.instances] if self.instances else []))
        return own + tuple(beside for path in own if (beside := data_file(path)))


@dataclass(frozen=True)
class Match:
    """How names of predictions and targets correspond.

    Each is a pattern for names of files, or for paths in their folder if it has a slash: ``{key}``
    stands for what partners share, ``*`` for anything, ``?`` for one character, neither for a
    slash. The suffix may be left out. A file of the targets that does not fit is none; the
    prediction's pattern is read with each target's key in it. A key is a whole: letters or digits
    right before or behind it would be part of it.

    Raises:
        ValueError: a pattern without ``{key}``, or with two.
    """

    preds: str
    target: str

    def __post_init__(self) -> None:
        for pattern in (self.preds, self.target):
            if pattern.count("{key}") != 1:
                raise ValueError(
                    f"--match: a pattern has one {{key}}, what partners share; got {pattern!r}. "
                    "An example: --match '{key}*' '{key}_gtFine_labelIds.png'."
                )


#: As Cityscapes' own script finds predictions, for targets that are named as its are.
CITYSCAPES = Match("{key}*", "{key}_gtFine_labelIds.png")


def find_pairs(
    preds: Path, targets: Path, match: Match | None = None
) -> tuple[list[Pair], list[Problem]]:
    """Pair the masks of two folders, or two files.

    Args:
        preds: folder of predictions, searched in depth.
        targets: folder of targets.
        match: how names correspond; by default partners have the same path, but for the suffix.

    Returns:
        The pairs, in order of their names, and what could not be paired.

    Raises:
        ValueError: there is no such folder, or no mask in it.
    """
    if preds.is_file() and targets.is_file():
        return [Pair(targets.name, preds, targets)], []
    files, problems = {}, []
    for folder in (preds, targets):
        files[folder], others = _find_masks(folder)
        problems += others
    if match is None:
        by_name = [{path: _without_suffix(path) for path in files[f]} for f in (preds, targets)]
    else:
        by_name = list(_names_by(match, files[preds], files[targets]))
        if not by_name[1]:
            raise ValueError(
                f"{targets}: none of its {len(files[targets])} masks fits {match.target!r}, among "
                f"them {files[targets][0]}. Mend the pattern of the targets in --match."
            )
    of_preds, of_targets = _by_name(preds, by_name[0]), _by_name(targets, by_name[1])
    pairs = []
    for name in sorted(of_preds.keys() | of_targets.keys()):
        some_preds, some_targets = of_preds.get(name, []), of_targets.get(name, [])
        for several in (some_preds, some_targets):
            if len(several) > 1:
                also = ", ".join(str(path) for path in several[1:3])
                more = f" and {len(several) - 3} more" if len(several) > 3 else ""
                detail = f"{name!r} is also {also}{more}"
                problems.append(Problem("ambiguous", str(several[0]), detail))
        if len(some_preds) == len(some_targets) == 1:
            pairs.append(Pair(name, some_preds[0], some_targets[0]))
        elif not some_targets:
            problems += [Problem("no target", str(path)) for path in some_preds]
        elif not some_preds:
            problems += [Problem("no prediction", str(path)) for path in some_targets]
    return pairs, problems


def with_instances(pairs: Iterable[Pair]) -> tuple[list[Pair], list[Problem]]:
    """The pairs with their masks of instance ids, and those that have none."""
    found, problems = [], []
    for pair in pairs:
        path = pair.target.with_name(pair.target.name.replace("labelIds", "instanceIds"))
        if path != pair.target and path.is_file():
            found.append(replace(pair, instances=path))
        else:
            problems.append(Problem("instances", str(pair.target), f"there is no {path.name}"))
    return found, problems


def find_images(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The images behind the masks of pairs: same path but for the suffix, or named ``{key}*``."""
    of_images = {
        end for end, form in FORMATS.items() if form.module in ("images", "tiff", "bitmaps")
    }
    suffixes = OTHER_IMAGES.keys() | of_images
    paths = [path for path in _walk(folder) if suffix(path).lower() in suffixes]
    by_path = {_without_suffix(path): folder / path for path in paths}
    found = {name: by_path[name] for name in names if name in by_path}
    rest = set(names) - found.keys()
    return {name: folder / path for path, name in _fitting("{key}*", paths, rest).items()} | found


def _find_masks(folder: Path) -> tuple[list[str], list[Problem]]:
    """Paths of masks in a folder, and images that cannot be masks unless one is beside them."""
    if not folder.is_dir():
        what = "is a file, the other is a folder" if folder.is_file() else "there is no such folder"
        raise ValueError(f"{folder}: {what}.")
    paths = sorted(_walk(folder))
    masks = [path for path in paths if suffix(path).lower() in FORMATS]
    known = {_without_suffix(path) for path in masks}
    others = [
        Problem("format", str(folder / path), f"{suffix(path)} is not read as a mask")
        for path in paths
        if suffix(path).lower() in OTHER_IMAGES and _without_suffix(path) not in known
    ]
    if not masks:
        there = f", but {Path(others[0].file).name}. {KINDS['format'][1]}" if others else "."
        raise ValueError(f"{folder}: there is no PNG, TIFF, NPY, NPZ or NIfTI in it{there}")
    return masks, others


def _walk(folder: Path) -> Iterable[str]:
    """Paths of the files below a folder, hidden ones left out."""
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(root).relative_to(folder)
        prefix = "" if here == Path() else f"{here.as_posix()}/"
        for name in files:
            if not name.startswith("."):
                yield prefix + name


def _without_suffix(path: str) -> str:
    return path.removesuffix(suffix(path))


def _names_by(
    match: Match, preds: Sequence[str], targets: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Path → name of predictions and of targets; a prediction of no target keeps its own."""
    fits = _fits(match.target, r"[^/]+")
    of_targets = {path: found["key"] for path in targets if (found := fits(path))}
    of_preds = _fitting(match.preds, preds, set(of_targets.values()))
    alone = _fits(match.preds, r"[^/]+")
    rest = {path: path for path in preds if path not in of_preds and alone(path)}
    return of_preds | rest, of_targets


def _fitting(pattern: str, paths: Iterable[str], keys: set[str]) -> dict[str, str]:
    """Path → key of those that fit with one of the keys; the longest, if they fit with several."""
    lengths = sorted({len(key) for key in keys}, reverse=True)
    shapes = [_fits(pattern, rf"(?<![^\W_])[^/]{{{n}}}(?![^\W_])") for n in lengths]
    found: dict[str, str] = {}
    for path in paths:
        fitting = (match["key"] for fits in shapes if (match := fits(path)))
        if key := next((key for key in fitting if key in keys), None):
            found[path] = key
    return found


def _fits(pattern: str, key: str) -> Callable[[str], re.Match[str] | None]:
    """Fits a path, or its last part, with or without its suffix, to a pattern."""
    parts = {"{key}": f"(?P<key>{key})", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\{key\}|\*|\?)", pattern)
    shape = re.compile("".join(parts.get(token) or re.escape(token) for token in tokens))

    def fits(path: str) -> re.Match[str] | None:
        text = path if "/" in pattern else path.rpartition("/")[2]
        return shape.fullmatch(_without_suffix(text)) or shape.fullmatch(text)

    return fits


def _by_name(folder: Path, names: Mapping[str, str]) -> dict[str, list[Path]]:
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path, name in names.items():
        found[name].append(folder / path)
    return dict(found)

"""Pairing of predictions and targets by the names of their files."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from segmetrics.files.content import HEAD, kind_of
from segmetrics.files.formats import FORMATS, IMAGES, OTHER_IMAGES, data_file, suffix
from segmetrics.files.names import readable
from segmetrics.files.problems import Problem


@dataclass(frozen=True)
class ClassFiles:
    """The masks of one class of a pair; without a prediction it is empty."""

    name: str
    target: Path
    preds: Path | None


@dataclass(frozen=True)
class Pair:
    """A prediction and its target, under the name that both share.

    Where each class has its own file ``classes`` has them all, and ``preds`` and ``target`` are the
    first.
    """

    name: str
    preds: Path
    target: Path
    instances: Path | None = None
    classes: tuple[ClassFiles, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the pair, including data files of headers."""
        own = [path for path in (self.preds, self.target, self.instances) if path]
        if self.classes:
            every = (file for masks in self.classes for file in (masks.target, masks.preds))
            own = [file for file in every if file]
        return (*own, *(data for path in own if (data := data_file(path))))


@dataclass(frozen=True)
class Match:
    """How names of predictions and targets correspond.

    Each is a pattern for names of files, or for paths in their folder if it has a slash: ``{key}``
    stands for what partners share, ``*`` for anything, ``?`` for one character, neither for a
    slash. The suffix may be left out. A file of the targets that does not fit is none; the
    prediction's pattern is read with each target's key in it. A key is a whole: letters or digits
    right before or behind it would be part of it. With ``{class}`` in both patterns each file is
    the mask of one class, and a pair has as many as its target has; ``classes`` are those to score,
    by default all of the targets.

    Raises:
        ValueError: a pattern without ``{key}``, or with two; ``{class}`` in one of them only.
    """

    preds: str
    target: str
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in (self.preds, self.target):
            if pattern.count("{key}") != 1:
                raise ValueError(
                    f"--match: a pattern has one {{key}}, what partners share; got {pattern!r}. "
                    "An example: --match '{key}*' '{key}_gtFine_labelIds.png'."
                )
            if pattern.count("{class}") != self.has_classes:
                raise ValueError(
                    "--match: {class}, the class whose mask a file is, stands once in both "
                    f"patterns or in none; got {self.preds!r} and {self.target!r}. An example: "
                    "--match '{key}/{class}.nii.gz' '{key}/{class}.nii.gz'."
                )

    @property
    def has_classes(self) -> bool:
        """Whether each file is the mask of one class."""
        return "{class}" in self.preds + self.target


#: The fix for masks of classes that targets lack.
SOME_CLASSES = (
    "Without a file a class of a target is unknown, not empty. To score some classes only, name "
    "them in a file for --labels."
)
#: Cityscapes' names of predictions, as its own script finds them.
CITYSCAPES = Match("{key}*", "{key}_gtFine_labelIds.png")

#: Suffixes of other files that are stored with masks: texts, tables, settings, logs.
NO_MASKS = (
    ".txt", ".md", ".rst", ".pdf", ".html", ".htm", ".css", ".js", ".log", ".out", ".err",
    ".json", ".jsonl", ".geojson", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".xml",
    ".csv", ".tsv", ".xls", ".xlsx", ".doc", ".docx", ".pkl", ".pickle", ".db", ".url", ".lock",
    ".py", ".ipynb", ".sh", ".bat", ".md5", ".sha1", ".sha256", ".sha512",
    ".tfw", ".pgw", ".prj", ".msk", ".ovr",
)  # fmt: skip
#: The same for names without a suffix.
NO_MASKS_BY_NAME = (
    "readme", "license", "licence", "copying", "notice", "authors", "citation", "changelog",
    "changes", "version", "makefile", "dockerfile", "md5sums", "sha256sums", "checksums",
)  # fmt: skip


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
        others = [_no_format(path) for path in (preds, targets) if not _is_mask(path.name)]
        return ([], others) if others else ([Pair(readable(targets.name), preds, targets)], [])
    files, problems = {}, []
    for folder, pattern in zip(
        (preds, targets), (match.preds, match.target) if match else (None, None), strict=True
    ):
        files[folder], others = _find_masks(folder, pattern)
        problems += others
    broken = {problem.file for problem in problems}
    if match is not None and match.has_classes:
        pairs, others = _pairs_of_classes(match, (preds, targets), files)
        pairs = [pair for pair in pairs if not broken & set(map(str, pair.files))]
        return pairs, problems + others
    if match is None:
        by_name = [{path: _stem(path) for path in files[f]} for f in (preds, targets)]
    else:
        by_name = list(_names_by(match, files[preds], files[targets]))
        if not by_name[1]:
            raise ValueError(
                f"{targets}: none of its {len(files[targets])} masks fits {match.target!r}, among "
                f"them {files[targets][0]}. Correct the pattern of the targets in --match."
            )
    of_preds, of_targets = _by_name(preds, by_name[0]), _by_name(targets, by_name[1])
    pairs = []
    for name in sorted(of_preds.keys() | of_targets.keys()):
        some_preds, some_targets = of_preds.get(name, []), of_targets.get(name, [])
        some_preds, some_targets = (
            _of_one_format(some_preds, some_targets), _of_one_format(some_targets, some_preds),
        )  # fmt: skip
        for several in (some_preds, some_targets):
            if len(several) > 1:
                also = ", ".join(str(path) for path in several[1:3])
                more = f" and {len(several) - 3} more" if len(several) > 3 else ""
                detail = f"{name!r} is also {also}{more}"
                if readable(several[0].name) == readable(several[1].name):
                    detail += ": the names look alike, but are other characters (Unicode NFC, NFD)"
                hint = "" if match else _pattern(some_preds, some_targets)
                problems.append(Problem("ambiguous", str(several[0]), detail, hint))
        if len(some_preds) == len(some_targets) == 1:
            if not (broken and broken & {str(some_preds[0]), str(some_targets[0])}):
                pairs.append(Pair(name, some_preds[0], some_targets[0]))
        elif not some_targets:
            problems += [Problem("no target", str(path)) for path in some_preds]
        elif not some_preds:
            problems += [Problem("no prediction", str(path)) for path in some_targets]
    return pairs, problems


def find_classes(targets: Path, match: Match) -> list[str]:
    """The classes of targets that are masks of one class each.

    Raises:
        ValueError: there is no such folder, or no mask that matches.
    """
    masks, _ = _find_masks(targets, match.target)
    return sorted({name for _, name in _masks_of_classes(match.target, targets, masks)})


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
    """The images of pairs: the same path except for the suffix, or named ``{key}*``."""
    of_images = {end for end, form in FORMATS.items() if form.name in IMAGES}
    suffixes = OTHER_IMAGES.keys() | of_images
    paths = [path for path in _walk(folder)[0] if suffix(path).lower() in suffixes]
    by_path = {_stem(path): folder / path for path in paths}
    found = {name: by_path[name] for name in names if name in by_path}
    rest = set(names) - found.keys()
    return {name: folder / path for path, name in _fitting("{key}*", paths, rest).items()} | found


def _find_masks(folder: Path, pattern: str | None) -> tuple[list[str], list[Problem]]:
    """Paths of masks in a folder, and of files that cannot be read as masks.

    A file in another format is no problem if there is a mask of the same name: it is the image
    that was labelled, or the scores that the mask was made from. Nor is one that does not fit the
    pattern of --match.
    """
    if not folder.is_dir():
        if folder.is_file():
            what = "is a file, the other is a folder"
        else:
            what = "is no regular file" if folder.exists() else "there is no such file or folder"
        raise ValueError(f"{folder}: {what}.")
    paths, broken, problems = _walk(folder)
    masks = [path for path in paths if _is_mask(path)]
    others = sorted(set(paths).difference(masks).union(broken))
    known = {_stem(path) for path in masks} if others else set()
    fits = _fits(pattern, r"[^/]+") if pattern else bool
    for path in others:
        if not fits(path) or _is_no_mask(path) or (_stem(path) in known and not _is_mask(path)):
            continue
        if path in broken:
            problems.append(Problem("inaccessible", str(folder / path), broken[path]))
        else:
            problems.append(_no_format(folder / path))
    if not masks:
        there = "."
        if problems:
            first = problems[0]
            there = f", but {Path(first.file).name}: {first.detail}. {first.fix}"
        raise ValueError(f"{folder}: there is no {formats()} in it{there}")
    return masks, problems


def _walk(folder: Path) -> tuple[list[str], dict[str, str], list[Problem]]:
    """Paths below a folder, those that are not regular files, and unreadable folders.

    A folder is visited once, however many links lead to it, and by its own path if it has one
    here. A link to a folder that holds this one is not followed. Hidden files are left out.
    """
    paths, broken, problems = [], {}, []
    seen = {_identity(parent) for parent in folder.resolve().parents}
    waiting = deque([""])  # folders first, then links to folders
    while waiting:
        prefix = waiting.popleft()
        try:
            identity = _identity(folder / prefix)
            if identity in seen:
                continue
            seen.add(identity)
            entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise ValueError(f"{folder}: {error.strerror}.") from error
            problems.append(Problem("inaccessible", str(folder / prefix), str(error.strerror)))
            continue
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.name.startswith("."):
                continue
            if _is_regular(entry):
                paths.append(path)
            elif not os.path.isdir(entry):
                paths.append(path)
                if not os.path.isfile(entry):
                    broken[path] = _what_it_is(entry)
            elif entry.is_symlink():
                waiting.append(f"{path}/")
            else:
                waiting.appendleft(f"{path}/")
    return sorted(paths), broken, problems


def _is_regular(entry: os.DirEntry[str]) -> bool:
    """Whether this is a regular file and no link; most systems say so without another question."""
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    """The identity of a folder, which only links to it share."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _what_it_is(entry: os.DirEntry[str]) -> str:
    """Paths that are neither a file nor a folder."""
    try:
        mode = os.stat(entry).st_mode
    except OSError as error:
        what = f"a link to {os.readlink(entry)}, " if entry.is_symlink() else ""
        return f"{what}{str(error.strerror).lower()}"
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return f"{kinds.get(stat.S_IFMT(mode), 'a device')}, no regular file"


def _is_mask(path: str) -> bool:
    return suffix(path).lower() in FORMATS


def _is_no_mask(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return suffix(name) in NO_MASKS or name in NO_MASKS_BY_NAME


def _no_format(path: Path) -> Problem:
    what = suffix(path.name) or "a name without a suffix"
    with suppress(OSError), path.open("rb", buffering=0) as file:
        if content := kind_of(file.read(HEAD)):
            what += f" ({content})"
    return Problem("format", str(path), f"{what} is not read as a mask")


def formats() -> str:
    """The supported formats, as text."""
    *most, last = dict.fromkeys(format.name for format in FORMATS.values())
    return f"{', '.join(most)} or {last}"


def _stem(path: str) -> str:
    """The name of a pair."""
    return readable(_without_suffix(path))


def _without_suffix(path: str) -> str:
    return path.removesuffix(suffix(path))


def _of_one_format(several: list[Path], partners: list[Path]) -> list[Path]:
    """Of files with the same name the one in the partner's format: nnU-Net adds .npz to masks."""
    if len(several) < 2 or len(partners) != 1:
        return several
    format_ = FORMATS[suffix(partners[0].name).lower()]
    alike = [path for path in several if FORMATS[suffix(path.name).lower()] == format_]
    return alike if len(alike) == 1 else several


def _pattern(preds: Sequence[Path], targets: Sequence[Path]) -> str:
    """The --match that selects the first of several files with the same name."""
    if not (preds and targets):
        return ""
    first, of_targets = (f"'{{key}}{suffix(paths[0].name)}'" for paths in (preds, targets))
    return f"To take these: --match {first} {of_targets}"


def _pairs_of_classes(
    match: Match,
    folders: tuple[Path, Path],
    files: Mapping[Path, Sequence[str]],
) -> tuple[list[Pair], list[Problem]]:
    """Pairs in which each class has files of its own."""
    preds, targets = folders
    of_targets = _masks_of_classes(match.target, targets, files[targets], match.classes)
    # a class that the targets have ends a key, whatever else is in the name
    names = match.classes or {name for _, name in of_targets}
    of_preds = _masks_of_classes(match.preds, preds, files[preds], names)
    if not match.classes:
        of_preds = _masks_of_classes(match.preds, preds, files[preds]) | of_preds
    for folder, pattern, found in (
        (preds, match.preds, of_preds),
        (targets, match.target, of_targets),
    ):
        if not found:
            of = f" and is of {', '.join(match.classes)}" if match.classes else ""
            raise ValueError(
                f"{folder}: none of its {len(files[folder])} masks fits {pattern!r}{of}, among "
                f"them {files[folder][0]}. Correct --match."
            )
    problems = [
        Problem("ambiguous", str(paths[0]), f"{name!r} of {key!r} is also {paths[1]}")
        for masks in (of_preds, of_targets)
        for (key, name), paths in masks.items()
        if len(paths) > 1
    ]
    cases, predicted = defaultdict(list), {key for key, _ in of_preds}
    for (key, name), paths in sorted(of_targets.items()):
        if key not in predicted:
            problems.append(Problem("no prediction", str(paths[0])))
        else:
            cases[key].append(ClassFiles(name, paths[0], of_preds.get((key, name), [None])[0]))
    for (key, name), paths in of_preds.items():
        if (key, name) not in of_targets:
            problems.append(Problem("no target", str(paths[0]), hint=SOME_CLASSES))
    pairs = []
    for key, masks in cases.items():
        first = next((of.preds for of in masks if of.preds), masks[0].target)
        pairs.append(Pair(key, first, masks[0].target, classes=tuple(masks)))
    return pairs, problems


def _masks_of_classes(
    pattern: str, folder: Path, paths: Sequence[str], classes: Iterable[str] = ()
) -> dict[tuple[str, str], list[Path]]:
    """The masks of keys and classes; by default of all classes."""
    names = "|".join(re.escape(name) for name in sorted(classes, key=len, reverse=True))
    fits = _fits(pattern, r"[^/]+?", names or "[^/]+")  # of "s1_lung_left" the key is "s1"
    found: defaultdict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in paths:
        if fitting := fits(path):
            found[fitting["key"], fitting["class"]].append(folder / path)
    return dict(found)


def _names_by(
    match: Match, preds: Sequence[str], targets: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Path → name of predictions and of targets; a prediction without a target keeps its own."""
    fits = _fits(match.target, r"[^/]+")
    of_targets = {path: found["key"] for path in targets if (found := fits(path))}
    of_preds = _fitting(match.preds, preds, set(of_targets.values()))
    alone = _fits(match.preds, r"[^/]+")
    rest = {path: path for path in preds if path not in of_preds and alone(path)}
    return of_preds | rest, of_targets


def _fitting(pattern: str, paths: Iterable[str], keys: set[str]) -> dict[str, str]:
    """Path → key of those that match one of the keys; the longest if several match."""
    lengths = sorted({len(key) for key in keys}, reverse=True)
    shapes = [_fits(pattern, rf"(?<![^\W_])[^/]{{{n}}}(?![^\W_])") for n in lengths]
    found: dict[str, str] = {}
    for path in paths:
        fitting = (match["key"] for fits in shapes if (match := fits(path)))
        if key := next((key for key in fitting if key in keys), None):
            found[path] = key
    return found


def _fits(pattern: str, key: str, name: str = "[^/]+") -> Callable[[str], re.Match[str] | None]:
    """Matches a path, or its last part, with or without its suffix, against a pattern."""
    parts = {
        "{key}": f"(?P<key>{key})", "{class}": f"(?P<class>{name})", "*": "[^/]*", "?": "[^/]",
    }  # fmt: skip
    tokens = re.split(r"(\{key\}|\{class\}|\*|\?)", readable(pattern))
    shape = re.compile("".join(parts.get(token) or re.escape(token) for token in tokens))

    def fits(path: str) -> re.Match[str] | None:
        text = readable(path if "/" in pattern else path.rpartition("/")[2])
        return shape.fullmatch(_without_suffix(text)) or shape.fullmatch(text)

    return fits


def _by_name(folder: Path, names: Mapping[str, str]) -> dict[str, list[Path]]:
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path, name in names.items():
        found[name].append(folder / path)
    return dict(found)

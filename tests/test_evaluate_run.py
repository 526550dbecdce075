"""A run of ``segmetrics evaluate``: folders, names, checkpoints, outputs, environment, signals."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from PIL import Image
from typer.testing import CliRunner, Result

from benchmarks.mask_folders import write_cityscapes
from commands import finish, interrupt_twice, limit_files, limit_memory, start, use_threads
from segmetrics.evaluate import checkpoint, iiou, workers
from segmetrics.evaluate.checkpoint import Checkpoint, digests
from segmetrics.evaluate.command import app
from segmetrics.evaluate.counter import Counted, Counter
from segmetrics.evaluate.folders import evaluate
from segmetrics.evaluate.ledger import Ledger
from segmetrics.evaluate.memory import memory
from segmetrics.evaluate.processes import _waiting
from segmetrics.evaluate.settings import Settings
from segmetrics.evaluate.summary import Summary
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import Pair
from segmetrics.labels import LabelSpace

THREE = "--num-classes", 3


def run(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def scored(folder: Path, *arguments: object) -> dict[str, Any]:
    """The JSON of a run that ends well."""
    path = folder / "scores.json"
    done = run(*arguments, "--json", path)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def write(path: Path | bytes, seed: int = 0) -> None:
    """A mask of 0, 1, 2."""
    mask = np.random.default_rng(seed).integers(0, 3, (16, 16)).astype(np.uint8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(mask).save(path, format="PNG")


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    """Three pairs; predictions are not their targets."""
    folders = tmp_path / "p", tmp_path / "t"
    for i in range(3):
        write(folders[0] / f"{i}.png", i)
        write(folders[1] / f"{i}.png", i + 10)
    return folders


# --- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [".", "..", "../..", "again"])
def test_a_folder_counts_once_however_many_links_lead_to_it(
    link: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pairs:
        write(folder / "hard" / "a.png", len(folder.name))
        write(folder / "hard" / "again" / "b.png")
    alone = scored(tmp_path, *pairs, *THREE)
    for folder in pairs:
        for name in "AxZ":  # before and after the names of the folders
            (folder / "hard" / name).symlink_to(link)
    linked = scored(tmp_path, *pairs, *THREE)
    assert linked["pairs"] == alone["pairs"] == 5
    assert linked["confusion"] == alone["confusion"]


def test_links_to_files_and_to_folders_elsewhere_are_followed(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    alone = scored(tmp_path, *pairs, *THREE)
    for folder, linked in zip(pairs, (tmp_path / "lp", tmp_path / "lt"), strict=True):
        linked.mkdir()
        (linked / "case").symlink_to(folder)
        (linked / "more").mkdir()
        (linked / "more" / "0.png").symlink_to(folder / "0.png")
    done = scored(tmp_path, tmp_path / "lp", tmp_path / "lt", *THREE, "--per-image")
    assert [row["name"] for row in done["images"]] == ["case/0", "case/1", "case/2", "more/0"]
    assert done["pixels"] == alone["pixels"] + 256


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


NO_FILES = {
    "pipe": (make_fifo, "a pipe, no regular file"),
    "socket": (make_socket, "a socket, no regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device, no regular file"),
    "dangling": (lambda path: path.symlink_to("gone.png"), "a link to gone.png, no such file"),
    "circle": (lambda path: path.symlink_to(path.name), "a link to 1.png, too many levels"),
}


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_named_and_never_opened(
    what: str, checkpoint: bool, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    make, message = NO_FILES[what]
    (pairs[0] / "1.png").unlink()
    make(pairs[0] / "1.png")
    given = *pairs, *THREE, *(("--checkpoint", tmp_path / "ck") if checkpoint else ())
    done = run(*given)
    assert done.exit_code == 2
    assert f"{pairs[0] / '1.png'}: {message}" in done.stderr
    rest = scored(tmp_path, *given, "--keep-going")
    assert rest["pairs"] == 2
    assert [Path(entry["file"]) for entry in rest["left_out"]] == [pairs[0] / "1.png"]


def test_a_folder_without_permission_is_named(pairs: tuple[Path, Path]) -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        os.chmod(open_to_all, 0o755)
        for folder in pairs:
            write(folder / "closed" / "a.png")
            shutil.copytree(folder, Path(open_to_all, folder.name))
        there = Path(open_to_all, "p"), Path(open_to_all, "t")
        me = os.geteuid()
        try:
            for folder in there:
                (folder / "closed").chmod(0)
            if me == 0:  # who may read everything
                os.seteuid(65534)
            done = run(*there, *THREE)
        finally:
            os.seteuid(me)
            for folder in there:
                (folder / "closed").chmod(0o755)
        assert done.exit_code == 2
        for folder in there:
            assert f"{folder / 'closed'}: Permission denied" in done.stderr


@pytest.mark.parametrize(
    "name", ["b.h5", "b.mat", "b.exr", "b.hdr", "b.avif", "x/b.xyz", "IM0001", "b.pt"]
)
def test_a_file_of_another_format_is_named(
    name: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pairs:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"masks")
    done = run(*pairs, *THREE)
    assert done.exit_code == 2
    assert done.stderr.count(f"{name}: ") == 2
    assert "not read as a mask" in done.stderr
    assert scored(tmp_path, *pairs, *THREE, "--keep-going")["pairs"] == 3
    assert scored(tmp_path, *pairs, *THREE, "--match", "{key}.png", "{key}.png")["pairs"] == 3


@pytest.mark.parametrize(
    "name",
    ["README", "LICENSE", "notes.TXT", "summary.json", "plans.json", "0.pkl", "cfg.yaml", "log.csv",
     "run.log", "0.png.aux.xml", "Thumbs.db", ".DS_Store", "desktop.ini", "0.jpg"],
)  # fmt: skip
def test_texts_and_photographs_next_to_masks_do_no_harm(
    name: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pairs:
        (folder / name).write_bytes(b"no masks")
    assert scored(tmp_path, *pairs, *THREE)["left_out"] == []


@pytest.mark.parametrize("name", ["a.jpg", "a.xyz", "a"])
def test_single_files_of_another_format_are_named(name: str, pairs: tuple[Path, Path]) -> None:
    for folder in pairs:
        (folder / name).write_bytes(b"mask")
    done = run(pairs[0] / name, pairs[1] / name, *THREE)
    assert done.exit_code == 2
    assert f"{pairs[0] / name}: {Path(name).suffix or 'a name without a suffix'}" in done.stderr
    assert "is not read as a mask" in done.stderr
    assert "KeyError" not in done.stderr


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_single_file_next_to_a_folder_or_a_pipe_is_refused(
    keep_going: bool, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    more = ["--keep-going"] if keep_going else []
    done = run(pairs[0] / "1.png", pairs[1], *THREE, *more)
    assert done.exit_code == 2
    assert "1.png: is a file, the other is a folder" in done.stderr
    os.mkfifo(tmp_path / "pipe.png")
    done = run(tmp_path / "pipe.png", pairs[1] / "1.png", *THREE, *more)
    assert done.exit_code == 2
    assert "pipe.png: is no regular file" in done.stderr


# --- names ----------------------------------------------------------------------------------------


def test_names_that_are_no_utf8_are_written_everywhere(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pairs:
        write(os.fsencode(folder) + b"/caf\xe9.png")
    (pairs[1] / os.fsdecode(b"lost\xff.png")).write_bytes(b"")
    table, page = tmp_path / "out.csv", tmp_path / "out.html"
    found = scored(tmp_path, *pairs, *THREE, "--per-image", "--keep-going", "--csv", table,
                   "--html", page, "--checkpoint", tmp_path / "ck")  # fmt: skip
    assert found["images"][-1]["name"] == "caf\\xe9"
    assert found["left_out"][0]["file"].endswith("lost\\xff.png")
    assert "caf\\xe9" in (tmp_path / "out.images.csv").read_text()
    assert "caf\\xe9" in page.read_text()
    assert "lost\\xff.png" in page.read_text()
    again = scored(tmp_path, *pairs, *THREE, "--per-image", "--keep-going",
                   "--checkpoint", tmp_path / "ck")  # fmt: skip
    assert again["images"] == found["images"]


@pytest.mark.parametrize("matched", [False, True])
def test_composed_and_decomposed_names_are_partners(
    matched: bool, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    forms = [unicodedata.normalize(form, "Zoë/ção") for form in ("NFC", "NFD")]
    write(pairs[0] / f"{forms[0]}.png")
    write(pairs[1] / f"{forms[1]}.png")
    more = ["--match", "*ë/{key}.png", f"{unicodedata.normalize('NFD', '*ë')}/{{key}}.png"]
    found = scored(tmp_path, *pairs, *THREE, "--per-image", *(more if matched else []))
    name = "Zoë/ção"
    assert found["images"][-1]["name"] == (name.split("/")[1] if matched else name)
    if matched:
        return
    write(pairs[0] / f"{forms[1]}.png", 1)
    done = run(*pairs, *THREE)
    assert done.exit_code == 2
    assert "files that share a name: 1" in done.stderr
    assert "the names look alike, but are other characters" in done.stderr


def test_names_do_not_control_the_terminal(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    write(pairs[0] / "\x1b]0;title\x07\x1b[31m.png")
    done = run(*pairs, *THREE)
    assert done.exit_code == 2
    assert "\x1b" not in done.stderr
    assert "\\x1b[31m.png" in done.stderr
    write(pairs[1] / "\x1b]0;title\x07\x1b[31m.png")
    done = run(*pairs, *THREE, "--per-image")
    assert "\x1b" not in done.stdout
    assert "\\x1b[31m" in done.stdout
    done = run(pairs[0] / "\x1bgone", pairs[1], *THREE)
    assert "\x1b" not in done.stderr


# --- checkpoints ----------------------------------------------------------------------------------


def test_another_models_predictions_of_one_size_and_time_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        target = rng.integers(0, 3, (16, 16)).astype(np.uint8)
        for name, mask in (("t", target), ("A", target), ("B", 0 * target)):
            path = tmp_path / name / f"{i}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, mask)
            os.utime(path, (1e9, 1e9))
    more = *THREE, "--checkpoint", tmp_path / "ck"
    assert scored(tmp_path, tmp_path / "A", tmp_path / "t", *more)["scores"]["mIoU"] == 1
    done = run(tmp_path / "B", tmp_path / "t", *more)
    assert done.exit_code == 2
    assert "made with other files: 0 has changed since, and so for 2 more of 3" in done.stderr
    shutil.copytree(tmp_path / "A", tmp_path / "moved")  # the same content, in another place
    assert scored(tmp_path, tmp_path / "moved", tmp_path / "t", *more)["scores"]["mIoU"] == 1


@pytest.mark.parametrize("folder", ["preds", "targets", "instances"])
def test_a_checkpoint_belongs_to_the_content_of_every_file(folder: str, tmp_path: Path) -> None:
    preds, targets = write_cityscapes(tmp_path, 3, (32, 64))
    given = preds, targets, "--labels", "cityscapes", "--iiou", "--checkpoint", tmp_path / "ck"
    scored(tmp_path, *given)
    pattern = {"preds": "*.png", "targets": "*labelIds.png", "instances": "*instanceIds.png"}
    path = min((preds if folder == "preds" else targets).rglob(pattern[folder]))
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = run(*given)
    assert done.exit_code == 2
    assert "has changed since" in done.stderr


def test_an_empty_file_is_no_checkpoint_yet(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint = tmp_path / "ck"
    checkpoint.touch()
    expected = scored(tmp_path, *pairs, *THREE)["confusion"]
    for _ in range(2):
        found = scored(tmp_path, *pairs, *THREE, "--checkpoint", checkpoint)
        assert found["confusion"] == expected
        assert checkpoint.stat().st_size


def test_a_checkpoint_may_lie_in_a_folder_of_masks(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for _ in range(2):
        found = scored(tmp_path, *pairs, *THREE, "--checkpoint", pairs[0] / "state")
        assert found["left_out"] == []


def test_a_damaged_checkpoint_is_refused_or_harmless(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = Settings(LabelSpace(list("abc")))
    files = {
        str(i): (pairs[0] / f"{i}.png", pairs[1] / f"{i}.png", pairs[1] / "0.png") for i in range(2)
    }
    saved = Ledger(settings)
    for name, paths in files.items():
        saved.add(Pair(name, *paths[:2]), Counted(np.arange(len(saved.sums)), None, digests(paths)))
    path = tmp_path / "ck"
    Checkpoint(path, settings.describe(), Warnings()).save(saved)
    whole = path.read_bytes()
    refused = 0
    for i in range(len(whole)):
        damaged = bytearray(whole)
        damaged[i] ^= 0x55
        path.write_bytes(damaged)
        found = Ledger(settings)
        try:
            Checkpoint(path, settings.describe(), Warnings()).load(found, files, 1)
        except ValueError as error:
            refused += 1
            assert "--checkpoint" in str(error)  # noqa: PT017
            assert not found.names
        else:
            assert (found.names, found.sums.tolist()) == (saved.names, saved.sums.tolist())
    assert refused > len(whole) / 2


def test_a_damaged_checkpoint_is_named_by_the_command(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "ck"
    given = *pairs, *THREE, "--checkpoint", path
    assert run(*given).exit_code == 0
    damaged = bytearray(path.read_bytes())
    damaged[damaged.rindex(b"PK\1\2") + 6] ^= 0x55  # the version that unpacking needs
    path.write_bytes(damaged)
    done = run(*given)
    assert done.exit_code == 2
    assert f"error: --checkpoint {path} is no checkpoint, or a damaged one" in done.stderr
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("length", [20, 58, 59, 200])
def test_a_long_setting_of_a_checkpoint_is_cut_after_60_characters(
    length: int, tmp_path: Path
) -> None:
    path, text = tmp_path / "ck", "x" * length
    settings: list[dict[str, object]] = [{"keys": text}, {"keys": "y"}]
    Checkpoint(path, settings[0], Warnings()).save(Ledger(Settings(LabelSpace(["a", "b"]))))
    shown = f'"{text}"' if length + 2 <= 60 else f'"{text[:59]}…'
    with pytest.raises(ValueError, match="was made with") as raised:
        Checkpoint(path, settings[1], Warnings()).load(
            Ledger(Settings(LabelSpace(["a", "b"]))), {}, 1
        )
    assert f'was made with keys {shown}, now it is "y". ' in str(raised.value)


def test_saving_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        """The time, and counts that take two seconds to save."""

        now, saved = 1000.0, 0
        digests: Mapping[str, tuple[str, ...]] = {}

        def monotonic(self) -> float:
            return self.now

        def stored(self) -> Mapping[str, np.ndarray]:
            self.now, self.saved = self.now + 2, self.saved + 1
            return {}

        def restore(self, *_: Any) -> None:
            raise NotImplementedError  # a new checkpoint has nothing to load

    slow = Slow()
    monkeypatch.setattr(checkpoint, "time", slow)
    saves = Checkpoint(tmp_path / "ck", {}, Warnings())
    for after, number in ((0, 1), (0, 1), (49, 1), (2, 2), (49, 2), (2, 3)):
        slow.now += after
        saves.save_if_due(slow)
        assert slow.saved == number


class _MakesAFolder:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_runs_no_code_that_is_in_it(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    given = *pairs, *THREE, "--checkpoint", tmp_path / "ck"
    assert run(*given).exit_code == 0
    with np.load(tmp_path / "ck") as saved:
        arrays = dict(saved)
    for name in arrays:
        objects = np.array([_MakesAFolder(tmp_path / "made")], object)
        with (tmp_path / "ck").open("wb") as file:
            np.savez(file, **{**arrays, name: objects})
        assert run(*given).exit_code == 2
        assert not (tmp_path / "made").exists()


def test_two_runs_on_one_checkpoint_do_not_disturb_each_other(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = Settings(LabelSpace(list("abc")))
    saved = Ledger(settings)
    counted = Counted(np.arange(len(saved.sums)), None)
    saved.add(Pair("0", pairs[0] / "0.png", pairs[1] / "0.png"), counted)
    failed: list[str] = []

    def save() -> None:
        checkpoint = Checkpoint(tmp_path / "ck", settings.describe(), Warnings(failed.append))
        for _ in range(50):
            checkpoint.save(saved)

    threads = [Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(os.listdir(tmp_path)) == ["ck", "p", "t"]


# --- outputs --------------------------------------------------------------------------------------


def in_a_process(tmp_path: Path, *arguments: object, **more: Any) -> tuple[int | None, str]:
    """The exit status and output of the command in a process of its own."""
    status = finish(start(1, tmp_path / "printed", *arguments, **more))[0]
    printed = tmp_path / "printed.0"
    text = printed.read_text()
    printed.unlink()
    return status, text


def test_a_full_disk_leaves_older_outputs_and_writes_the_others(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    older = tmp_path / "r.json", tmp_path / "r.html"
    for path in older:
        path.write_text("older")
    given = *pairs, "--num-classes", 40, "--json", older[0], "--html", older[1]
    status, text = in_a_process(tmp_path, *given, "--csv", tmp_path / "r.csv", before=limit_files)
    assert status == 2
    assert "mIoU" in text
    for option, path in zip(("--json", "--html"), older, strict=True):
        assert f"error: {option} {path} cannot be written: File too large" in text
        assert path.read_text() == "older"
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 41
    assert sorted(os.listdir(tmp_path)) == ["p", "r.csv", "r.html", "r.json", "t"]


def test_a_full_disk_ends_checkpoints_and_not_the_run(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    expected = scored(tmp_path, *pairs, "--num-classes", 40)["confusion"]
    checkpoint = tmp_path / "ck"
    given = *pairs, "--num-classes", 40, "--checkpoint", checkpoint
    status, text = in_a_process(tmp_path, *given, before=limit_files)
    assert status == 0
    message = f"warning: --checkpoint {checkpoint} cannot be written: File too large."
    assert f"{message} Nothing is saved; counting goes on" in text
    assert "3 pairs" in text
    assert not checkpoint.exists()
    (pairs[1] / "2.png").rename(tmp_path / "2.png")
    assert run(*given, "--keep-going").exit_code == 0
    whole = checkpoint.read_bytes()
    (tmp_path / "2.png").rename(pairs[1] / "2.png")
    status, text = in_a_process(tmp_path, *given, before=limit_files)
    assert f"{message} What was saved before is intact" in text
    assert checkpoint.read_bytes() == whole
    assert not list(tmp_path.glob(".*"))
    assert scored(tmp_path, *given)["confusion"] == expected


def test_the_memory_of_many_classes_is_told_before_it_is_taken(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    given = *pairs, "--num-classes", 10**7
    status, text = in_a_process(tmp_path, *given, before=limit_memory)
    assert status == 2
    assert "error: 10,000,000 classes need 38.1 GiB" in text
    assert "this machine has 8.0 GiB" in text
    assert "--labels" in text


def test_the_memory_is_that_of_the_machine_or_less_by_ulimit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def limited(to: int) -> float:
        monkeypatch.setattr(resource, "getrlimit", lambda which: (to, resource.RLIM_INFINITY))
        return memory()

    machine = limited(resource.RLIM_INFINITY)
    assert 0 < machine <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert limited(2**20) == 2**20
    assert limited(2**62) == machine
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert limited(resource.RLIM_INFINITY) == 12288


REFUSED = {
    "a folder": (["--json", "{0}/d"], "--json must be a file, {0}/d is a folder"),
    "no folder": (["--html", "{0}/no/r.html"], "the folder {0}/no does not exist. Make it first"),
    "a file as folder": (["--csv", "{0}/t/0.png/r.csv"], "the folder {0}/t/0.png does not exist"),
    "read only": (["--csv", "/proc/r.csv"], "--csv /proc/r.csv cannot be written"),
    "a target": (["--csv", "{0}/t/0.png"], "--csv {0}/t/0.png would overwrite an input, {0}/t/0"),
    "a link to a prediction": (["--html", "{0}/link"], "--html {0}/link would overwrite an input"),
    "its checkpoint a mask": (["--checkpoint", "{0}/p/1.png"], "would overwrite an input"),
    "one name": (["--json", "{0}/x", "--csv", "{0}/x"], "--json and --csv are the same file"),
    "one file": (["--json", "{0}/x", "--checkpoint", "{0}/d/../x"], "--json and --checkpoint are"),
    "a table of images": (
        ["--per-image", "--csv", "{0}/x.csv", "--json", "{0}/x.images.csv"],
        "--json and the table of images of --csv are the same file",
    ),
    "a table of regions": (
        ["--region", "A=1,2", "--csv", "{0}/x.csv", "--json", "{0}/x.regions.csv"],
        "--json and the table of regions of --csv are the same file",
    ),
    "both printed": (["--json", "-", "--csv", "-"], "--json and --csv are the same file, -"),
    "a printed report": (["--html", "-"], "--html must be a file; - is standard output"),
    "images alone": (["--images", "{0}/d"], "give --html FILE, too"),
    "no images": (["--images", "{0}/no", "--html", "{0}/h"], "--images {0}/no does not exist"),
    "images a file": (["--images", "{0}/t/0.png", "--html", "{0}/h"], "0.png is no folder"),
    "one class": (["--num-classes", "1"], "got 1. For one foreground class give --binary"),
    "too many classes": (["--num-classes", "1" + 9 * "0"], "1,000,000,000 classes need 3814.7 GiB"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_written_is_refused_before_anything_is_counted(
    what: str, pairs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to(pairs[0] / "2.png")
    before = {path: path.read_bytes() for folder in pairs for path in folder.iterdir()}
    monkeypatch.setattr(Counter, "count", None)  # is not called
    arguments, message = REFUSED[what]
    given = [argument.replace("{0}", str(tmp_path)) for argument in arguments]
    done = run(*pairs, *(() if "classes" in what or "class" in what else THREE), *given)
    assert done.exit_code == 2
    assert message.replace("{0}", str(tmp_path)) in done.stderr
    assert {path: path.read_bytes() for folder in pairs for path in folder.iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["d", "link", "p", "t"]


def test_tables_that_are_not_written_are_not_in_the_way(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for name in ("regions", "categories", "images", "by"):
        (tmp_path / f"x.{name}.csv").mkdir()
    assert run(*pairs, *THREE, "--csv", tmp_path / "x.csv").exit_code == 0
    done = run(*pairs, *THREE, "--csv", tmp_path / "x.csv", "--region", "A=1,2")
    assert done.exit_code == 2
    assert "x.regions.csv" in done.stderr


def test_the_file_of_labels_is_not_overwritten(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text('{"names": ["a", "b", "c"]}')
    done = run(*pairs, "--labels", labels, "--json", labels)
    assert done.exit_code == 2
    assert "would overwrite an input" in done.stderr


def test_outputs_are_replaced_where_links_lead_and_pipes_are_written_to(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "real.csv").write_text("older")
    (tmp_path / "real.csv").chmod(0o640)
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert run(*pairs, *THREE, "--csv", tmp_path / "link.csv").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("class,")
    assert (tmp_path / "real.csv").stat().st_mode & 0o777 == 0o640
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert run(*pairs, *THREE, "--csv", tmp_path / "pipe", "--json", "/dev/null").exit_code == 0
        assert reader.communicate()[0].startswith(b"class,")
    assert (tmp_path / "pipe").is_fifo()
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("keep_going", [False, True])
def test_scores_of_one_pair_have_no_intervals(
    keep_going: bool, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pairs:
        (folder / "2.png").unlink()
        (folder / "1.png").write_bytes(b"broken") if keep_going else (folder / "1.png").unlink()
    more = ["--keep-going"] if keep_going else []
    done = run(*pairs, *THREE, "--confidence", 0.95, "--html", tmp_path / "r.html", *more)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("warning: --confidence needs at least two pairs") == 1
    assert "mIoU" in done.stdout


def test_a_folder_without_a_class_to_score_is_refused(pairs: tuple[Path, Path]) -> None:
    done = run(*pairs, *THREE, *(f"--ignore-index={i}" for i in range(3)))
    assert done.exit_code == 2
    assert "error: no class is left to score" in done.stderr


def test_a_score_without_a_value_has_a_dash_for_an_interval(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for path in pairs[1].iterdir():
        Image.new("L", Image.open(path).size, 255).save(path)
    done = run(*pairs, *THREE, "--ignore-index", 255, "--confidence", 0.9)
    assert done.exit_code == 0, done.stderr
    [line] = (line for line in done.stdout.splitlines() if line.startswith("mIoU"))
    assert line.split() == ["mIoU", "–", "–"]
    assert "nan" not in done.stdout


def test_a_broken_photograph_is_left_out_of_the_report(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "im").mkdir()
    (tmp_path / "im" / "0.jpg").write_text("no jpeg")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "im" / "1.jpg")
    page = tmp_path / "r.html"
    scores = tmp_path / "r.json"
    done = run(*pairs, *THREE, "--html", page, "--json", scores, "--images", tmp_path / "im")
    assert done.exit_code == 0, done.stderr
    assert f"warning: --images: {tmp_path / 'im' / '0.jpg'} cannot be read" in done.stderr
    assert "0.jpg cannot be read" in page.read_text()
    assert "0.jpg cannot be read" in json.loads(scores.read_text())["warnings"][0]
    assert page.read_text().count('alt="Image of') == 1


def test_names_are_no_formulas_in_tables(tmp_path: Path) -> None:
    names = ["=cmd|' calc'!A0", "+1", "-1", "@sum", "\tx", "＝x", "plain", "-"]
    for folder in (tmp_path / "p", tmp_path / "t"):
        for name in names:
            write(folder / f"{name}.png")
    labels = {"names": ["=HYPERLINK(1)", "b", "@c"]}
    (tmp_path / "l.json").write_text(json.dumps(labels))
    found = scored(tmp_path, tmp_path / "p", tmp_path / "t", "--labels", tmp_path / "l.json",
                   "--per-image", "--csv", tmp_path / "o.csv")  # fmt: skip
    with (tmp_path / "o.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)][1:] == ["'=HYPERLINK(1)", "b", "'@c"]
    with (tmp_path / "o.images.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    for name in sorted(names):
        assert [name if name == "plain" else f"'{name}"] in [row[:1] for row in rows]
    assert all(not cell.startswith(("=", "+", "@", "-")) for row in rows for cell in row)
    assert sorted(row["name"] for row in found["images"]) == sorted(names)


@pytest.mark.parametrize("encoding", ["cp437", "cp850", "cp932", "latin-1", "ascii"])
def test_any_terminal_gets_the_table(
    encoding: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "l.json").write_text(json.dumps({"names": ["a", "b", "ç", "\u0fd5"]}))
    given = ["evaluate", *map(str, pairs), "--labels", str(tmp_path / "l.json"), "--json"]
    done = CliRunner(charset=encoding).invoke(app, [*given, str(tmp_path / "r.json")])
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[4].split() == ["?", "0", "-", "-", "-"]
    assert json.loads((tmp_path / "r.json").read_text())["classes"][3]["name"] == "\u0fd5"
    done = CliRunner(charset=encoding).invoke(app, [*given, "-"])
    assert json.loads(done.stdout)["classes"][3]["name"] == "\u0fd5"


@pytest.mark.parametrize("more", [[], ["--keep-going"]])
def test_where_nothing_is_left_it_says_so(more: list[str], pairs: tuple[Path, Path]) -> None:
    for path in pairs[0].iterdir():
        path.write_bytes(b"")
    done = run(*pairs, *THREE, *more)
    assert done.exit_code == 2
    assert "error: 3 files cannot be scored, and nothing is left to score." in done.stderr
    assert "--keep-going" not in done.stderr


# --- environment and signals ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": 1},
        {"RANK": "x"},
        {"RANK": 1, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1},
        {"RANK": 1, "WORLD_SIZE": 2},
        {"WORLD_SIZE": 4},
        {"RANK": 3, "LOCAL_WORLD_SIZE": 1000},
    ],
)
def test_what_another_job_left_in_the_environment_does_not_matter(
    environment: dict[str, object], pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    given = *pairs, *THREE, "--json", tmp_path / "r.json"
    status, text = in_a_process(tmp_path, *given, environment=environment)
    assert status == 0
    assert "3 pairs" in text
    assert json.loads((tmp_path / "r.json").read_text())["processes"] == 1
    status, text = in_a_process(tmp_path, "nosuch", pairs[1], *THREE, environment=environment)
    assert (status, text) == (2, "error: nosuch: there is no such file or folder.\n")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "x"}, "RANK='x' in the environment is no number"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two' in the environment is no number"),
        ({"RANK": "2"}, r"RANK=2 in the environment must be in [0, 2), as WORLD_SIZE=2"),
        ({"RANK": "-1"}, r"RANK=-1 in the environment must be in [0, 2)"),
        ({"LOCAL_WORLD_SIZE": ""}, "LOCAL_WORLD_SIZE='' in the environment is no number"),
    ],
)
def test_a_broken_variable_of_torchrun_is_named(
    environment: dict[str, str],
    message: str,
    pairs: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in (whole | environment).items():
        monkeypatch.setenv(name, value)
    done = run(*pairs, *THREE)
    assert done.exit_code == 2
    assert f"error: {message}" in done.stderr
    assert "unset RANK WORLD_SIZE MASTER_ADDR MASTER_PORT" in done.stderr


@pytest.mark.parametrize(("number", "others"), [(2, "1 more process,"), (4, "3 more processes,")])
def test_it_says_how_many_others_are_waited_for(
    number: int, others: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("segmetrics.evaluate.processes.PATIENCE", 0)
    said, deadline = "", time.monotonic() + 180
    with _waiting(1, number):
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
            said = capfd.readouterr().err
    assert said.startswith(f"waiting for {others} as RANK=1 and WORLD_SIZE={number} in the")


def test_who_waits_for_other_processes_says_so_and_can_be_interrupted(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    [process] = start(1, tmp_path / "printed", *pairs, *THREE, environment=torchrun)
    text, deadline = "", time.monotonic() + 60
    while not text and time.monotonic() < deadline:
        time.sleep(0.1)
        if (tmp_path / "printed.0").exists():
            text = (tmp_path / "printed.0").read_text()
    assert "waiting for 1 more process, as RANK=0 and WORLD_SIZE=2" in text
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert finish([process]) == [-signal.SIGINT]
    assert (tmp_path / "printed.0").read_text() == text


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 0.9])
def test_an_interrupt_while_it_is_loaded_leaves_no_traceback(
    share: float, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    """By the time that the module of the given share of all modules is loaded."""
    watch = f"""
import os, signal, sys
class Watch:
    seen = 0
    def find_spec(self, name, path=None, target=None):
        Watch.seen += name.startswith(("numba", "numpy", "rich", "segmetrics."))
        if Watch.seen == int(2 + {share} * 400):  # the first is __main__ itself
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Watch())
sys.argv = ["segmetrics", "evaluate", {str(pairs[0])!r}, {str(pairs[1])!r}, "--num-classes", "3"]
from segmetrics.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_the_package_loads_nothing_before_the_command_can_be_interrupted() -> None:
    code = "import sys, segmetrics; print(sum(m.partition('.')[0] in ('numpy', 'torch', 'rich') "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}for m in sys.modules))"], capture_output=True, timeout=120
    )
    assert done.stdout == b"0\n"


# --- without fork ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pairs enough to interrupt."""
    root = tmp_path_factory.mktemp("many")
    mask = np.random.default_rng(0).integers(0, 3, (1500, 1500)).astype(np.uint8)
    for folder in "pt":
        (root / folder).mkdir()
        Image.fromarray(mask).save(root / folder / "0.png")
        for i in range(1, 1000):
            (root / folder / f"{i}.png").symlink_to("0.png")
    return root / "p", root / "t"


@pytest.mark.parametrize("before", [None, use_threads])
def test_an_interrupt_while_it_counts_leaves_a_checkpoint_to_go_on_from(
    before: Any, many: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "ck"
    given = *many, *THREE, "--workers", 2, "--checkpoint", checkpoint
    [process] = start(1, tmp_path / "printed", *given, before=before)
    while not checkpoint.exists() and process.is_alive():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert finish([process]) == [130]
    printed = (tmp_path / "printed.0").read_text().splitlines()
    assert [line for line in printed if " of 1,000 pairs" not in line] == []
    assert sorted(os.listdir(tmp_path)) == ["ck", "printed.0"]
    with np.load(checkpoint) as saved:
        done = len(json.loads(bytes(saved["about"]))["digests"])
    assert 0 < done < 1000


@pytest.fixture
def without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "FORKS", False)


@pytest.mark.usefixtures("without_fork")
def test_threads_name_problems_keep_going_and_resume(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = scored(tmp_path, *pairs, *THREE, "--per-image")
    content = (pairs[0] / "1.png").read_bytes()
    (pairs[0] / "1.png").write_bytes(b"broken")
    given = *pairs, *THREE, "--per-image", "--workers", 2, "--checkpoint", tmp_path / "ck"
    done = run(*given)
    assert done.exit_code == 2
    assert f"{pairs[0] / '1.png'}: " in done.stderr
    assert "To score the rest: --keep-going" in done.stderr
    rest = scored(tmp_path, *given, "--keep-going")
    assert (rest["pairs"], len(rest["left_out"])) == (2, 1)
    (pairs[0] / "1.png").write_bytes(content)
    found = scored(tmp_path, *given)
    assert (found["confusion"], found["images"]) == (whole["confusion"], whole["images"])
    (pairs[1] / "0.png").write_bytes(content)
    done = run(*given)
    assert done.exit_code == 2
    assert "0 has changed since" in done.stderr


@pytest.mark.parametrize(
    ("shared", "by"),
    [((1, 1), "1 worker"), ((2, 1), "2 workers"), ((2, 2), "2 workers, 2 processes"),
     ((1, 3), "1 worker, 3 processes")],
)  # fmt: skip
def test_the_last_line_says_how_much_was_counted_how_fast(
    shared: tuple[int, int], by: str, pairs: tuple[Path, Path]
) -> None:
    found = evaluate(*pairs, Settings(LabelSpace(["a", "b", "c"])))
    assert found is not None
    workers_, processes = shared
    timed = replace(found, seconds=0.5, workers=workers_, processes=processes)
    line = Summary.of(timed, per_image=False, level=None).how_fast()
    assert line == f"3 pairs, {found.pixels:,} pixels counted in 0.5 s (6 pairs/s, {by})"


def test_processes_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_processors", lambda: 8)
    for processes, number in ((1, 8), (2, 4), (3, 2), (8, 1), (20, 1)):
        assert workers.number_of_workers(None, 3, processes) == number
        assert workers.number_of_workers(1000, 3, processes) == 4 * number
        assert workers.number_of_workers(1, 3, processes) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_workers_are_as_many_as_the_memory_holds(
    processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_processors", lambda: 16)
    table = 1000 * workers.A_CLASS
    for number in (1, 2, 5):  # each has its tables, and the names are there once
        needed = processes * (1 + number * workers.TABLES) * table
        for there, expected in ((1.001 * needed, number), (0.999 * needed, number - 1)):
            monkeypatch.setattr(workers, "memory", lambda there=there: there)
            if expected:
                assert workers.number_of_workers(None, 1000, processes) == expected
            else:
                with pytest.raises(ValueError, match="1,000 classes need"):
                    workers.number_of_workers(None, 1000, processes)


def test_many_workers_are_no_more_than_processors_can_feed(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    found = scored(tmp_path, *pairs, *THREE, "--workers", 100000)
    assert 1 <= found["workers"] <= 4 * (os.cpu_count() or 1)


# --- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(300, 301), (256, 257), (513, 255)])
def test_masks_that_are_no_whole_number_of_blocks_are_counted(
    size: tuple[int, int], tmp_path: Path
) -> None:
    preds, target = np.random.default_rng(0).integers(0, 3, (2, *size)).astype(np.uint8)
    Image.fromarray(preds).save(tmp_path / "p.png")
    Image.fromarray(target).save(tmp_path / "t.png")
    found = scored(tmp_path, tmp_path / "p.png", tmp_path / "t.png", *THREE)
    expected = sk.confusion_matrix(target.ravel(), preds.ravel(), labels=range(3))
    assert found["confusion"] == expected.tolist()


@pytest.mark.parametrize("classes", [2, 200, 256, 300, 512, 513])
def test_any_number_of_classes_is_counted(classes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(classes)
    target = rng.integers(0, classes, (60, 70)).astype(np.uint8 if classes <= 256 else np.uint16)
    preds = np.where(rng.random(target.shape) < 0.3, 0, target).astype(target.dtype)
    for folder, mask in (("p", preds), ("t", target)):
        (tmp_path / folder).mkdir()
        Image.fromarray(mask).save(tmp_path / folder / "a.png")
    found = scored(tmp_path, tmp_path / "p", tmp_path / "t", "--num-classes", classes)
    assert found["scores"]["pixel_accuracy"] == pytest.approx((preds == target).mean())
    assert [row["pixels"] for row in found["classes"]] == np.bincount(
        target.ravel(), minlength=classes
    ).tolist()


def test_a_foreground_without_target_is_a_false_alarm_of_its_image(tmp_path: Path) -> None:
    some, none = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    some[2:4, 2:4] = 1
    for name in "pt":
        (tmp_path / name).mkdir()
    for i, (preds, target) in enumerate([(some, none), (some, some), (none, none)]):
        Image.fromarray(preds).save(tmp_path / "p" / f"{i}.png")
        Image.fromarray(target).save(tmp_path / "t" / f"{i}.png")
    found = scored(tmp_path, tmp_path / "p", tmp_path / "t", "--binary", "--per-image")
    assert [row["mIoU"] for row in found["images"]] == [0, 1, None]
    assert (found["scores"]["mIoU_I"], found["scores"]["mDice_I"]) == (0.5, 0.5)


def test_instances_are_looked_for_under_the_names_of_cityscapes_only(
    pairs: tuple[Path, Path],
) -> None:
    done = run(*pairs, "--labels", "cityscapes", "--iiou")
    assert done.exit_code == 2
    assert "targets without a mask of instance ids: 3" in done.stderr
    assert f"{pairs[1] / '1.png'}: there is no 1.png" in done.stderr


@pytest.mark.parametrize(("instance", "label"), [(33001, None), (34000, 34), (65535, 65)])
def test_an_instance_has_a_label_of_cityscapes(instance: int, label: int | None) -> None:
    pixels = np.full((4, 5), 26, np.uint8)
    instances = np.full((4, 5), instance, np.uint16)
    if label is None:
        of_bicycles = iiou.count(pixels, pixels, instances)[0][list(iiou.SIZES).index(33)]
        assert of_bicycles.tolist() == pytest.approx([0, iiou.SIZES[33]])  # all are missed
    else:
        with pytest.raises(ValueError, match=f"instance {instance} has the label {label}, which"):
            iiou.count(pixels, pixels, instances)


def test_every_column_is_that_of_scikit_learn(tmp_path: Path) -> None:
    names, table = ["sky", "road", "car", "none"], tmp_path / "o.csv"
    rng, maps = np.random.default_rng(1), []
    for i in range(4):
        target = rng.choice(4, (24, 30), p=[0.5, 0.3, 0.2, 0])
        preds = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 3, target.shape))
        for folder, mask in (("p", preds), ("t", target)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / folder / f"{i}.png")
        maps.append((target.ravel(), preds.ravel()))
    (tmp_path / "l.json").write_text(json.dumps({"names": names}))
    given = tmp_path / "p", tmp_path / "t", "--labels", tmp_path / "l.json", "--per-image"
    found = scored(tmp_path, *given, "--csv", table)

    def columns(target: np.ndarray, preds: np.ndarray) -> dict[str, np.ndarray]:
        options: Any = {"labels": range(4), "average": None, "zero_division": np.nan}
        iou = sk.jaccard_score(target, preds, labels=range(4), average=None, zero_division=0)
        there = np.isin(range(4), np.concatenate([target, preds]))
        return {
            "pixels": np.bincount(target, minlength=4),
            "iou": np.where(there, iou, np.nan),
            "dice": sk.f1_score(target, preds, **options),
            "accuracy": sk.recall_score(target, preds, **options),
        }

    def numbers(values: Any) -> list[float]:
        return [np.nan if value in (None, "", "–") else float(value) for value in values]

    expected = columns(*map(np.concatenate, zip(*maps, strict=True)))
    assert len({column[0] for column in expected.values()}) == 4
    with table.open(newline="") as file:
        of_csv = list(csv.DictReader(file))
    printed = [line.split() for line in run(*given).stdout.splitlines()[1:5]]
    for place, (key, column) in enumerate(expected.items(), 1):
        for rows, digits in ((found["classes"], 1e-12), (of_csv, 1e-12)):
            np.testing.assert_allclose(numbers(row[key] for row in rows), column, atol=digits)
        of_table = numbers(row[place].replace(",", "") for row in printed)
        np.testing.assert_allclose(of_table, column, atol=5.01e-4)

    with (tmp_path / "o.images.csv").open(newline="") as file:
        of_csv = list(csv.DictReader(file))
    for i, (target, preds) in enumerate(maps):
        of_image = columns(target, preds)
        row = {
            "pixels": target.size,
            "mIoU": np.nanmean(of_image["iou"]),
            "mDice": np.nanmean(of_image["dice"]),
            "accuracy": sk.accuracy_score(target, preds),
            **{f"iou/{n}": of_image["iou"][c] for c, n in enumerate(names)},
        }
        assert len(set(row.values())) == len(row)
        for of_file in (found["images"][i], of_csv[i]):
            assert list(of_file)[1:] == list(row)
            np.testing.assert_allclose(
                numbers(of_file[key] for key in row), list(row.values()), atol=1e-12
            )


def test_an_image_without_a_score_is_no_example(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(pairs[1] / "1.png")
    page = tmp_path / "r.html"
    assert run(*pairs, *THREE, "--ignore-index", 255, "--html", page).exit_code == 0
    shown = re.findall('alt="Target of ([^"]*)"', page.read_text())
    assert sorted(shown) == ["0", "2"]


def test_an_interrupt_while_outputs_are_written_leaves_none_half_done(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")  # whose other end nobody opens
    (tmp_path / "r.csv").write_text("older")
    given = *pairs, *THREE, "--json", tmp_path / "pipe", "--csv", tmp_path / "r.csv"
    [process] = start(1, tmp_path / "printed", *given)
    printed, deadline = tmp_path / "printed.0", time.monotonic() + 60
    while not (printed.exists() and "3 pairs" in printed.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert finish([process]) == [130]
    assert "Traceback" not in printed.read_text()
    assert (tmp_path / "r.csv").read_text() == "older"
    assert sorted(os.listdir(tmp_path)) == ["p", "pipe", "printed.0", "r.csv", "t"]


def test_a_second_interrupt_leaves_no_partial_file(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "r.csv").write_text("older")
    given = *pairs, *THREE, "--csv", tmp_path / "r.csv"
    processes = start(1, tmp_path / "printed", *given, before=interrupt_twice)
    assert finish(processes, seconds=240) == [130]
    assert (tmp_path / "r.csv").read_text() == "older"
    assert sorted(os.listdir(tmp_path)) == ["p", "printed.0", "r.csv", "t"]

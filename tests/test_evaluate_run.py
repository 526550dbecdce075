"""A run of ``segmetrics evaluate``: folders, names, checkpoints, outputs, environment, signals."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from segmetrics.evaluate.command import app

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
    "name", ["b.dcm", "b.h5", "b.mat", "b.exr", "b.hdr", "b.avif", "x/b.xyz", "IM0001", "b.pt"]
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
def test_texts_and_photographs_beside_masks_do_no_harm(
    name: str, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pairs:
        (folder / name).write_bytes(b"no masks")
    assert scored(tmp_path, *pairs, *THREE)["left_out"] == []


@pytest.mark.parametrize("name", ["a.jpg", "a.xyz", "a", "a.dcm"])
def test_single_files_of_another_format_are_named(name: str, pairs: tuple[Path, Path]) -> None:
    for folder in pairs:
        (folder / name).write_bytes(b"mask")
    done = run(pairs[0] / name, pairs[1] / name, *THREE)
    assert done.exit_code == 2
    assert f"{pairs[0] / name}: {Path(name).suffix or 'a name without a suffix'}" in done.stderr
    assert "is not read as a mask" in done.stderr
    assert "KeyError" not in done.stderr


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_single_file_beside_a_folder_or_a_pipe_is_refused(
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

"""A model as a folder that describes itself: Hugging Face's files, what was learned on top, and what it is.

    config.json, model.safetensors, tokenizer and image processor     as CLIPModel.from_pretrained reads them
    head.safetensors                                                  learned heads, where there are any
    curves.png                                                        how its fine-tuning went, likewise
    fashion_clip.json                                                 what it is, and the sha256 of each file

fashion_clip.json is written last, and the folder gets its name when all is on disk: a folder without it, or
with a name that begins with a dot, is no model. Its own sha256 stands for the whole folder.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashion_clip.calibration import Calibration, parse_calibration
from fashion_clip.checkpoint import model_files
from fashion_clip.errors import CheckpointError
from fashion_clip.head_file import HEAD_FILE, LearnedHeads, read_heads, write_heads
from fashion_clip.runtimes import CONVERTED

DESCRIPTION = "fashion_clip.json"
FORMAT = 1
_BLOCK = 1 << 20  # bytes hashed at once


def write_model_folder(
    folder: Path,
    checkpoint: Path,
    learned: LearnedHeads | None,
    calibration: Calibration | None,
    facts: Mapping[str, Any],
    pictures: Sequence[Path] = (),
) -> str:
    """Makes a model folder, all of it or nothing; returns its digest.

    Args:
        folder: where it is to be; its parent is made, and it must not exist.
        checkpoint: the folder in Hugging Face form whose weights, tokenizer and image processor are copied.
        facts: what else the description tells, as JSON.
        pictures: files that are to lie beside, for people to look at.

    Raises:
        CheckpointError: the folder exists already.
    """
    if folder.exists():
        raise CheckpointError(f"{str(folder)!r} exists already; give a folder that does not, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".partial-{secrets.token_hex(8)}"
    try:
        partial.mkdir()
        for file in [*model_files(checkpoint), *pictures]:
            shutil.copyfile(file, partial / file.name)
        if learned is not None:
            write_heads(learned, partial / HEAD_FILE)
        document = {
            "format": FORMAT,
            **facts,
            "head": learned.version if learned else None,
            "calibration": json.loads(calibration.to_json()) if calibration else None,
            "files": {path.name: sha256_of(path) for path in sorted(partial.iterdir())},
        }
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (partial / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        _sync(partial)
        partial.rename(folder)
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sha256_of(folder / DESCRIPTION)


def check_model_folder(folder: Path, digest: str | None = None) -> None:
    """Reads every file that the description names and compares it, and the description with its digest.

    Besides these there may be what OpenVINO's runtime converted, and files whose names begin with a dot.

    Raises:
        CheckpointError: something is missing, was changed or was added.
    """
    document = description(folder)
    if document is None:
        raise CheckpointError(f"{str(folder)!r} has no {DESCRIPTION}, so it is no model of a registry")
    if digest is not None and sha256_of(folder / DESCRIPTION) != digest:
        raise CheckpointError(
            f"{str(folder / DESCRIPTION)!r} was changed since the model was registered; put the original back"
        )
    files = document["files"]
    if "config.json" not in files or not any(map(_weights, files)):
        raise CheckpointError(
            f"{str(folder / DESCRIPTION)!r} lists no config.json, or no weights, among the model's files; "
            "make the model again"
        )
    for path in sorted(folder.iterdir()):
        converted = path.name == CONVERTED and path.is_dir()
        if path.name not in (*files, DESCRIPTION) and not path.name.startswith(".") and not converted:
            raise CheckpointError(
                f"{str(path)!r} is not among the files of the model; take it out of its folder"
            )
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != wanted:
            raise CheckpointError(
                f"{str(path)!r} is missing or was changed since the model was made; put the original back"
            )


def description(folder: Path) -> dict[str, Any] | None:
    """What fashion_clip.json tells; None where there is none. Raises CheckpointError if it cannot be read."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}; this program reads {FORMAT}")
        if not all(_plain(name) and isinstance(of, str) for name, of in document["files"].items()):
            raise ValueError("its files must be plain names with a sha256 each")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be used: {type(error).__name__}: {error}") from error
    found: dict[str, Any] = document
    return found


def read_learned(folder: Path, dimension: int) -> LearnedHeads | None:
    """The heads that a folder has beside its weights.

    Raises:
        CheckpointError: they cannot be used, or are not those that the folder's description tells of, if any.
    """
    path = folder / HEAD_FILE
    learned = read_heads(path, dimension) if path.is_file() else None
    document, found = description(folder), learned.version if learned else None
    if document is not None and document.get("head") != found:
        raise CheckpointError(
            f"{str(path)!r} holds learned heads of version {found}, and {DESCRIPTION} beside it tells of "
            f"{document.get('head')!r}; put the original back"
        )
    return learned


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration that a folder describes. Raises CheckpointError if it cannot be read."""
    found = (description(folder) or {}).get("calibration")
    try:
        return None if found is None else parse_calibration(json.dumps(found))
    except CheckpointError as error:
        raise CheckpointError(f"{str(folder / DESCRIPTION)!r}: {error}") from error


def sha256_of(path: Path) -> str:
    """Of a file's bytes, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _weights(name: str) -> bool:
    return name.endswith(".safetensors") and name != HEAD_FILE


def _plain(name: object) -> bool:
    """A file's name and no path: it is joined to a folder."""
    return isinstance(name, str) and name == Path(name).name and name not in ("", ".", "..")


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

"""Folders that describe themselves: whole or not there, plain to transformers, and refused when changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fashion_clip.demo import MODEL_DIR
from fashion_clip.errors import CheckpointError
from fashion_clip.head_file import LearnedHeads
from fashion_clip.heads import fit_head
from fashion_clip.model import load_model
from fashion_clip.model_folder import (
    DESCRIPTION,
    check_model_folder,
    description,
    read_calibration,
    sha256_of,
    write_model_folder,
)
from fashion_clip.taxonomy import load_taxonomy
from tests.catalogue_fixtures import model_copy
from tests.fashion_clip.made_truth import unit
from tests.fashion_clip.test_heads import photos

__all__ = ["model_copy"]


@pytest.fixture(scope="module")
def learned() -> LearnedHeads:
    model = load_model(str(MODEL_DIR))
    [head, *_] = model.labeller(load_taxonomy("demo")).heads
    told = photos(40, 1, labels=len(head.labels) - 1)
    vectors = unit(np.random.default_rng(0).normal(size=(40, model.encoder.dimension)))
    return LearnedHeads((fit_head(head, type(told)(vectors, told.truth, told.products, told.weights)),))


@pytest.fixture
def folder(learned: LearnedHeads, tmp_path: Path) -> Path:
    write_model_folder(tmp_path / "made", MODEL_DIR, learned, None, {"rung": "head"})
    return tmp_path / "made"


def test_it_loads_here_with_its_heads_and_plainly_elsewhere(folder: Path, learned: LearnedHeads) -> None:
    from transformers import CLIPModel

    model = load_model(str(folder))
    assert model.learned is not None
    assert model.learned.version == learned.version
    assert model.encoder.identity == load_model(str(MODEL_DIR)).encoder.identity
    plain = CLIPModel.from_pretrained(folder)
    assert plain.config.model_type == "clip"


def test_it_says_what_it_is(folder: Path, learned: LearnedHeads) -> None:
    document = description(folder)
    assert document is not None
    assert (document["rung"], document["head"]) == ("head", learned.version)
    assert {"config.json", "model.safetensors", "head.safetensors"} <= set(document["files"])
    assert {path.name for path in folder.iterdir()} == {*document["files"], DESCRIPTION}
    check_model_folder(folder, sha256_of(folder / DESCRIPTION))


def test_a_plain_checkpoint_has_no_description(model_copy: Path) -> None:
    assert description(model_copy) is None
    with pytest.raises(CheckpointError, match="is no model of a registry"):
        check_model_folder(model_copy)


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "config.json"])
def test_a_changed_file_is_told(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}' is missing or was changed"):
        check_model_folder(folder)


def test_a_missing_file_and_a_changed_description_are_told(folder: Path) -> None:
    digest = sha256_of(folder / DESCRIPTION)
    document = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps(document | {"rung": "full"}))
    with pytest.raises(CheckpointError, match="was changed since the model was registered"):
        check_model_folder(folder, digest)
    (folder / "head.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"head\.safetensors' is missing"):
        check_model_folder(folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format": 2, "files": {}}', '{"format": 1, "files": {"../x": "00"}}', '{"format": 1}'],
)
def test_a_description_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / DESCRIPTION).write_text(text)
    with pytest.raises(CheckpointError, match="cannot be used"):
        description(folder)


def described(folder: Path, **changes: object) -> None:
    document = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps(document | changes))


def test_heads_are_those_that_the_description_tells(folder: Path, learned: LearnedHeads) -> None:
    head = folder / "head.safetensors"
    content = head.read_bytes()
    head.unlink()
    with pytest.raises(CheckpointError, match="holds learned heads of version None"):
        load_model(str(folder))
    head.write_bytes(content)
    described(folder, head=None)
    with pytest.raises(CheckpointError, match=f"version {learned.version}, and .* tells of None"):
        load_model(str(folder))


def test_a_file_that_is_not_the_models_is_told(folder: Path) -> None:
    (folder / "openvino").mkdir()
    (folder / "openvino" / "kept.lock").touch()
    (folder / ".DS_Store").touch()
    check_model_folder(folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json' is not among the files of the model"):
        check_model_folder(folder)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_description_without_config_or_weights_is_refused(folder: Path, missing: str) -> None:
    files = json.loads((folder / DESCRIPTION).read_text())["files"]
    del files[missing]
    (folder / missing).unlink()
    described(folder, files=files)
    with pytest.raises(CheckpointError, match=r"lists no config\.json, or no weights"):
        check_model_folder(folder)


ENTRY = {
    "attribute_version": "v", "temperature": 1.0, "bias": [0.0, 0.5], "slope": 1.0, "intercept": 0.0,
    "threshold": None, "truths": 200, "error_before": 0.1, "error_after": 0.05, "accepted": 0.0,
}  # fmt: skip
CALIBRATION = {
    "precision": 0.95, "certainty": 0.9, "truth_version": "t", "fitting": 0.5, "attributes": {"kind": ENTRY},
    "unknown": None,
}  # fmt: skip


def test_a_calibration_is_read(folder: Path) -> None:
    described(folder, calibration=CALIBRATION)
    found = read_calibration(folder)
    assert found is not None and found.attributes["kind"].bias == (0.0, 0.5)


NONE_AT_ALL: list[object] = [
    [], "text", 1, {}, CALIBRATION | {"attributes": []}, CALIBRATION | {"attributes": {"kind": "ab"}},
    CALIBRATION | {"more": 1}, CALIBRATION | {"precision": "0.9"}, CALIBRATION | {"fitting": 2},
    CALIBRATION | {"truth_version": 1}, CALIBRATION | {"unknown": 3},
    CALIBRATION | {"unknown": {"mean": "AAAA", "components": "", "variances": "", "noise": 1}},
]  # fmt: skip
NO_ENTRIES: list[dict[str, object]] = [
    {"temperature": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"temperature": None},
    {"temperature": 10**400}, {"threshold": 1.5}, {"threshold": "0.5"}, {"bias": "12"}, {"bias": [None]},
    {"bias": [float("inf")]}, {"slope": True}, {"intercept": []}, {"truths": -1}, {"error_after": 2},
    {"attribute_version": None}, {"more": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    "calibration",
    [*NONE_AT_ALL, *(CALIBRATION | {"attributes": {"kind": ENTRY | change}} for change in NO_ENTRIES)],
)
def test_a_damaged_calibration_is_refused(folder: Path, calibration: object) -> None:
    described(folder, calibration=calibration)
    with pytest.raises(CheckpointError, match="its calibration cannot be used"):
        read_calibration(folder)


def test_nothing_is_overwritten_and_nothing_half_written_stays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sha256_of(folder / DESCRIPTION)
    with pytest.raises(CheckpointError, match="exists already"):
        write_model_folder(folder, MODEL_DIR, None, None, {})
    assert sha256_of(folder / DESCRIPTION) == before
    monkeypatch.setattr(shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError(28, "no space left")))
    with pytest.raises(OSError, match="no space"):
        write_model_folder(tmp_path / "other", MODEL_DIR, None, None, {})
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_code_and_pickles_are_refused(model_copy: Path, tmp_path: Path) -> None:
    config = json.loads((model_copy / "config.json").read_text())
    (model_copy / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    (model_copy / "evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    with pytest.raises(CheckpointError, match="names program code of its own"):
        load_model(str(model_copy))
    assert not (tmp_path / "run").exists()

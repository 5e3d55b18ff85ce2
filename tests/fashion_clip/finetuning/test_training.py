"""Training helps, is the same after a kill, and mixes no two runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fashion_clip.checkpoint import Checkpoint, load_checkpoint
from fashion_clip.demo import MODEL_DIR
from fashion_clip.errors import UsageError
from fashion_clip.finetuning import training
from fashion_clip.finetuning.history import FineTuned
from fashion_clip.finetuning.measuring import measure_zero_shot
from fashion_clip.finetuning.session import learning_rate
from fashion_clip.finetuning.settings import FineTuning, Method, TrainingPhotos
from fashion_clip.finetuning.training import finetune
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.taxonomy import parse_taxonomy
from tests.fashion_clip.finetuning.demo_pairs import DEMO, demo_photos

TRAINING, VALIDATION = demo_photos(slice(0, 200), negative=True), demo_photos(slice(200, 300), negative=True)
RATES: dict[Method, float] = {"full": 5e-4, "lora": 5e-3}
FEW, OTHERS = demo_photos(slice(0, 48), negative=True), demo_photos(slice(48, 72), negative=True)
SHORT = FineTuning("full", 5e-4, epochs=2, batch_size=16, patience=9)
KEPT_OUT = {"articleType": frozenset({"Bags", "Sandals", "Coats"})}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(str(MODEL_DIR))


def run(
    checkpoint: Checkpoint,
    work: Path,
    settings: FineTuning = SHORT,
    photos: TrainingPhotos = FEW,
    progress: Callable[[int, int, float], None] = lambda *_: None,
) -> FineTuned:
    return finetune(checkpoint, DEMO, photos, OTHERS, settings, work, progress)


def weights(tuned: FineTuned) -> dict[str, torch.Tensor]:
    return load_file(tuned.folder / "model.safetensors")


def assert_same(one: FineTuned, other: FineTuned) -> None:
    assert one.history == other.history
    expected = weights(other)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=name)


class KilledError(Exception):
    pass


def kill_after(last: int) -> Callable[[int, int, float], None]:
    def progress(step: int, _: int, __: float) -> None:
        if step == last:
            raise KilledError

    return progress


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_helps(checkpoint: Checkpoint, tmp_path: Path, method: Method) -> None:
    settings = FineTuning(method, RATES[method], epochs=5, batch_size=50, patience=9)
    old = {name: tensor.clone() for name, tensor in checkpoint.model.state_dict().items()}
    seen: list[tuple[int, int, float]] = []
    tuned = finetune(
        checkpoint, DEMO, TRAINING, VALIDATION, settings, tmp_path / "work", lambda *call: seen.append(call)
    )
    figures = tuned.history.epochs
    assert [call[:2] for call in seen] == [(step, 20) for step in range(1, 21)]
    assert tuple(call[2] for call in seen) == tuned.history.losses
    assert len(figures) == 6
    assert figures[tuned.history.best].mean > figures[0].mean + 0.1
    written = load_checkpoint(str(tuned.folder))
    again = measure_zero_shot(written.model, written, DEMO, VALIDATION, {}, "cpu")
    assert again.accuracy == pytest.approx(figures[tuned.history.best].accuracy, abs=0.011)
    assert all(torch.equal(tensor, old[name]) for name, tensor in checkpoint.model.state_dict().items())
    assert set(weights(tuned)) == set(old)
    assert {tensor.dtype for tensor in weights(tuned).values()} == {torch.float32}
    assert torch.equal(weights(tuned)["logit_scale"], old["logit_scale"])


def test_the_folders_hold_what_they_should(checkpoint: Checkpoint, tmp_path: Path) -> None:
    tuned = run(checkpoint, tmp_path / "work")
    assert {path.name for path in tuned.folder.iterdir()} == {
        path.name for path in MODEL_DIR.iterdir() if path.is_file() and path.suffix != ".md"
    }
    assert {path.name for path in (tmp_path / "work").iterdir()} == {
        "run.json", "history.json", "curves.png", "tuned"
    }  # fmt: skip
    assert (tmp_path / "work" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert run(checkpoint, tmp_path / "work", progress=kill_after(1)) == tuned  # nothing is left to do


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("last", "every"), [(2, 600.0), (5, 0.0), (3, 0.0)])
def test_a_killed_run_comes_to_the_same_end(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: Method,
    last: int,
    every: float,
) -> None:
    """Of 3 steps an epoch the second, with the start saved; the fifth and the third with every step saved."""
    settings = replace(SHORT, method=method, accumulation=1)
    expected = run(checkpoint, tmp_path / "quiet", settings)
    monkeypatch.setattr(training, "_SAVE_EVERY", every)
    with pytest.raises(KilledError):
        run(checkpoint, tmp_path / "work", settings, progress=kill_after(last))
    (tmp_path / "work" / "state.safetensors.partial").write_bytes(b"half a state")
    steps: list[int] = []
    tuned = run(checkpoint, tmp_path / "work", settings, progress=lambda step, *_: steps.append(step))
    assert steps == list(range(1 if every else last, 7))
    assert_same(tuned, expected)


def test_another_seed_is_another_run(checkpoint: Checkpoint, tmp_path: Path) -> None:
    one, other = run(checkpoint, tmp_path / "one"), run(checkpoint, tmp_path / "two", replace(SHORT, seed=1))
    assert one.history.losses != other.history.losses


def test_a_folder_of_another_run_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with pytest.raises(KilledError):
        run(checkpoint, work, progress=kill_after(1))
    before = (work / "state.safetensors").read_bytes()
    relabelled = replace(FEW, truth={**FEW.truth, "category": np.full(48, NONE_OF_THEM)})
    repainted = replace(FEW, pixels=255 - FEW.pixels)
    named = replace(FEW, names=("a shoe", *FEW.names[1:]))
    for photos in (relabelled, repainted, named):
        with pytest.raises(UsageError, match=r"other training; give another work folder"):
            run(checkpoint, work, photos=photos)
    with pytest.raises(UsageError, match="other settings"):
        run(checkpoint, work, replace(SHORT, seed=1))
    with pytest.raises(UsageError, match="other validation"):
        finetune(checkpoint, DEMO, FEW, FEW, SHORT, work, lambda *_: None)
    document: dict[str, Any] = json.loads(json.dumps(DEMO.to_document()))
    document["attributes"]["category"]["templates"] = ["{text}"]
    with pytest.raises(UsageError, match="other taxonomy"):
        finetune(checkpoint, parse_taxonomy(document), FEW, OTHERS, SHORT, work, lambda *_: None)
    other = load_checkpoint(str(MODEL_DIR))
    with torch.no_grad():
        other.model.logit_scale.add_(1e-3)
    with pytest.raises(UsageError, match="other model"):
        run(other, work)
    assert (work / "state.safetensors").read_bytes() == before


def test_a_damaged_state_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(checkpoint, tmp_path, progress=kill_after(1))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1000])
    with pytest.raises(UsageError, match=r"state\.safetensors' is damaged"):
        run(checkpoint, tmp_path)


def test_accumulated_batches_are_one_step(checkpoint: Checkpoint, tmp_path: Path) -> None:
    tuned = run(checkpoint, tmp_path, replace(SHORT, epochs=1, accumulation=3))
    assert len(tuned.history.losses) == 1
    apart = run(checkpoint, tmp_path / "apart", replace(SHORT, epochs=1, learning_rate=1e-12))
    assert tuned.history.losses[0] == pytest.approx(np.mean(apart.history.losses), rel=1e-3)


def test_more_photos_a_step_than_there_are(checkpoint: Checkpoint, tmp_path: Path) -> None:
    tuned = run(checkpoint, tmp_path, replace(SHORT, epochs=1, batch_size=40, accumulation=2))
    assert len(tuned.history.losses) == 1


def test_patience_ends_a_run_and_the_best_epoch_counts(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """At such a rate nothing is learned: the old weights are the best there are."""
    photos = demo_photos(slice(0, 48))
    settings = replace(SHORT, learning_rate=0.3, epochs=9, patience=2)
    tuned = finetune(
        checkpoint, DEMO, photos, demo_photos(slice(48, 148)), settings, tmp_path, lambda *_: None
    )
    assert tuned.history.best == 0
    assert len(tuned.history.epochs) == 3
    old = checkpoint.model.state_dict()
    assert all(torch.equal(tensor, old[name]) for name, tensor in weights(tuned).items())


def test_nothing_to_learn_or_to_measure_by_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    unknown = replace(FEW, truth={})
    with pytest.raises(UsageError, match="0 of the 48 training photos"):
        run(checkpoint, tmp_path / "one", photos=unknown)
    with pytest.raises(UsageError, match="validation has no photo"):
        finetune(checkpoint, DEMO, FEW, unknown, SHORT, tmp_path / "two", lambda *_: None)


def test_kept_out_labels_are_measured_apart(checkpoint: Checkpoint) -> None:
    photos = demo_photos(slice(0, 300))
    labels = [label.name for label in DEMO.attributes[1].labels]
    figures = measure_zero_shot(checkpoint.model, checkpoint, DEMO, photos, KEPT_OUT, "cpu")
    out = np.isin(photos.truth["articleType"], [labels.index(name) for name in KEPT_OUT["articleType"]])
    assert figures.kept_out_answers == out.sum() > 0
    assert figures.kept_out is not None
    assert figures.kept_out > 0.9  # three labels that are not alike
    whole = measure_zero_shot(checkpoint.model, checkpoint, DEMO, photos, {}, "cpu")
    assert whole.kept_out is None
    assert whole.accuracy["category"] == figures.accuracy["category"]
    assert whole.accuracy["articleType"] != figures.accuracy["articleType"]


def test_the_rate_rises_and_falls() -> None:
    settings = FineTuning("full", 1.0, warmup=0.1)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[0] == 0.1
    assert max(rates) == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.001

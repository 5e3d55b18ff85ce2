"""Mixed weights lie where they should, and the choice keeps what it must."""

from pathlib import Path

import pytest
import torch

from fashion_clip.checkpoint import Checkpoint, load_checkpoint
from fashion_clip.demo import MODEL_DIR
from fashion_clip.errors import UsageError
from fashion_clip.finetuning.folders import write_model
from fashion_clip.finetuning.history import FineTuned, History, ZeroShot
from fashion_clip.finetuning.interpolation import (
    ALPHAS,
    LEAST_KEPT_OUT,
    best_alpha,
    choose_alpha,
    interpolate,
)
from tests.fashion_clip.finetuning.demo_pairs import DEMO, demo_photos

PROJECTION = "visual_projection.weight"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(str(MODEL_DIR))


@pytest.fixture
def tuned(checkpoint: Checkpoint, tmp_path: Path) -> FineTuned:
    """A model that answers at random: its projection is another one."""
    other = load_checkpoint(str(MODEL_DIR)).model
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        other.visual_projection.weight.copy_(torch.randn(128, 128, generator=generator) / 10)
        other.vision_model.pre_layrnorm.bias[0] = -0.0
    write_model(other, checkpoint.folder, tmp_path / "tuned")
    return FineTuned(tmp_path / "tuned", History(1))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(str(folder)).model.named_parameters())


def test_ends_are_exact_and_the_middle_is_between(
    checkpoint: Checkpoint, tuned: FineTuned, tmp_path: Path
) -> None:
    old, new = dict(checkpoint.model.named_parameters()), weights(tuned.folder)
    for alpha in (0.0, 0.3, 1.0):
        interpolate(checkpoint, tuned, alpha, tmp_path / f"{alpha}")
        found = weights(tmp_path / f"{alpha}")
        assert found.keys() == old.keys()
        for name, tensor in found.items():
            expected = {0.0: old[name], 1.0: new[name]}.get(alpha, 0.7 * old[name] + 0.3 * new[name])
            if alpha in (0.0, 1.0):
                assert tensor.detach().numpy().tobytes() == expected.detach().numpy().tobytes()
            torch.testing.assert_close(tensor, expected)
    assert not (found[PROJECTION] == old[PROJECTION]).any()


def test_a_folder_that_exists_is_kept(checkpoint: Checkpoint, tuned: FineTuned, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        interpolate(checkpoint, tuned, 0.5, tmp_path / "there")
    assert (tmp_path / "there" / "notes").read_text() == "mine"


def test_what_an_earlier_try_left_is_written_anew(
    checkpoint: Checkpoint, tuned: FineTuned, tmp_path: Path
) -> None:
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "model.safetensors").write_bytes(b"half")
    interpolate(checkpoint, tuned, 0.0, tmp_path / "new")
    assert not (tmp_path / "new.partial").exists()
    assert load_checkpoint(str(tmp_path / "new")).preprocessing == checkpoint.preprocessing


def test_a_model_that_got_worse_is_left_out(checkpoint: Checkpoint, tuned: FineTuned) -> None:
    choice = choose_alpha(checkpoint, tuned, DEMO, demo_photos(slice(0, 60)), {})
    figures = dict(choice.tried)
    assert tuple(figures) == ALPHAS
    assert figures[0.0].mean > figures[1.0].mean + 0.3
    assert figures[choice.alpha].mean == max(each.mean for each in figures.values())


def tried(*figures: tuple[float, float | None]) -> list[tuple[float, ZeroShot]]:
    return [
        (place / 10, ZeroShot({"a": mean}, kept_out, LEAST_KEPT_OUT))
        for place, (mean, kept_out) in enumerate(figures)
    ]


def test_the_best_that_keeps_enough_is_chosen() -> None:
    assert best_alpha(tried((0.5, 0.8), (0.6, 0.73), (0.7, 0.725), (0.8, 0.71))) == 0.2
    assert best_alpha(tried((0.5, 0.8), (0.6, 0.1), (0.7, 0.2))) == 0.0
    assert best_alpha(tried((0.5, None), (0.6, None), (0.7, None), (0.7, None))) == 0.2
    few = [
        (alpha, ZeroShot(each.accuracy, each.kept_out, LEAST_KEPT_OUT - 1))
        for alpha, each in tried((0.5, 0.8), (0.6, 0.1))
    ]
    assert best_alpha(few) == 0.1

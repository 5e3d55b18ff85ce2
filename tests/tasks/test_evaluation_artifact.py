"""An evaluation in the Prefect UI: figures, the weakest slices first, small pictures, names as plain text."""

import base64
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashion_clip.evaluation import evaluate
from fashion_clip.predictions import Predictions
from fashion_clip.scoring import TopLabels
from fashion_clip.taxonomy import parse_taxonomy
from tasks import evaluation_artifact
from tasks.evaluating import Evaluated

TAXONOMY = parse_taxonomy({"name": "t", "attributes": {"[kind]|": {"labels": ["a|b", "c", "d"]}}})


def made(photos: int = 40, models: tuple[str, ...] = ("one", "two")) -> Evaluated:
    random = np.random.default_rng(3)
    found = []
    for model in models:
        index = np.stack([random.permutation(3) for _ in range(photos)]).astype(np.int32)
        confidence = -np.sort(-random.dirichlet(np.ones(3), photos), axis=1).astype(np.float32)
        said = Predictions(
            "[kind]|",
            ("a|b", "c", "d"),
            random.integers(0, 3, photos),
            TopLabels(index, confidence, confidence, np.zeros(photos, np.int8)),
            tuple(map(str, range(photos))),
            np.arange(photos),
            np.ones(photos),
        )
        of_photo = {photo: f"v{int(photo) % 60}" for photo in said.photos}
        found.append(evaluate(model, "file:///x/", "v1", [said], {"odd|": of_photo}, ["Beware of |."]))
    return Evaluated(tuple(found), TAXONOMY, dict, lambda uri: None)


def test_figures_are_a_row_a_model_and_attribute() -> None:
    evaluated = made()
    first, second = evaluation_artifact.figures(evaluated)
    assert [first["model"], second["model"]] == ["one", "two"]
    metrics = evaluated.evaluations[0].attributes[0]
    assert first["accuracy"] == round(metrics.accuracy.estimate, 4)
    assert first["at least"] <= first["accuracy"] <= first["at most"]
    assert first["photos"] == 40


def test_the_page_tells_figures_warnings_slices_and_pictures() -> None:
    page = evaluation_artifact.markdown(made(), 7)
    assert page.startswith("# Run 7: one\n")
    assert "\\[kind\\]\\|" in page
    assert "- Beware of \\|." in page
    slices = page.partition("## Slices, the weakest first")[2]
    highest = [
        float(line.split(" | ")[-1].rstrip(" |"))
        for line in slices.splitlines()
        if re.search(" v[0-9]", line)
    ]
    assert highest == sorted(highest)
    assert len(highest) == 40
    pictures = re.findall(r"!\[[^\n]*\]\(data:image/png;base64,([^)]*)\)", page)
    assert len(pictures) == 2
    for picture in pictures:
        with Image.open(BytesIO(base64.b64decode(picture))) as opened:
            assert max(opened.size) <= evaluation_artifact.WIDEST
            assert np.asarray(opened.convert("L")).std() > 10  # something is drawn
    for line in page.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) in (13, 8)


@pytest.mark.parametrize("photos", [1, 60])
def test_many_slices_are_cut(photos: int) -> None:
    page = evaluation_artifact.markdown(made(photos, ("one",)), 1)
    assert ("And 20 others." in page) == (photos == 60)


def test_without_slices_nothing_is_said_of_them() -> None:
    evaluated = made()
    first = replace(evaluated.evaluations[0], slices=())
    assert "Slices" not in evaluation_artifact.markdown(replace(evaluated, evaluations=(first,)), 1)

"""From a label set to a loaded model: what was registered is what answers, wherever it lies."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from fashion_clip.demo import MODEL_DIR
from fashion_clip.errors import CheckpointError, TaxonomyError, UsageError
from tasks import serving
from tasks.catalog.models import LabelSet, served
from tests.catalogue_fixtures import DEMO_MODEL, change_weights, contents_of


@pytest.fixture
def label_set(engine: Engine) -> LabelSet:
    return serving.begin_catalogue(engine, DEMO_MODEL, "demo")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """As in a process that starts after the test: no model is in memory."""
    serving._model.cache_clear()
    yield
    serving._model.cache_clear()


def test_an_empty_catalogue_begins_with_what_was_asked_for(engine: Engine, label_set: LabelSet) -> None:
    assert served(engine) == label_set
    assert label_set.checkpoint == str(MODEL_DIR.resolve())
    assert label_set.taxonomy.name == "demo"


@pytest.mark.parametrize(
    ("model", "taxonomy", "error"),
    [
        ("./nowhere", "demo", CheckpointError),
        (DEMO_MODEL, "nowhere", TaxonomyError),
        ("/etc", "demo", CheckpointError),
    ],
)
def test_what_cannot_be_loaded_leaves_the_catalogue_empty(
    engine: Engine, model: str, taxonomy: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        serving.begin_catalogue(engine, model, taxonomy)
    assert not any(contents_of(engine).values())


def test_the_loaded_model_has_a_head_for_each_attribute(label_set: LabelSet) -> None:
    model = serving.load_model(label_set)
    names = [attribute.name for attribute in label_set.taxonomy.attributes]
    assert [head.attribute for head in model.labeller.heads] == names
    for head, attribute in zip(model.labeller.heads, label_set.taxonomy.attributes, strict=True):
        assert head.labels == tuple(label.name for label in attribute.labels)
        assert len(head.labels) == len(label_set.label_ids[head.attribute])
    assert model.encoder.identity == label_set.encoder_identity


def test_a_model_is_loaded_once_in_a_process(label_set: LabelSet) -> None:
    first, second = serving.load_model(label_set), serving.load_model(label_set, DEMO_MODEL)
    assert first.encoder is second.encoder
    assert first.labeller.heads is second.labeller.heads


@pytest.mark.parametrize("model", [None, DEMO_MODEL, DEMO_MODEL + "/"])
@pytest.mark.parametrize("taxonomy", [None, "demo"])
def test_asking_for_what_is_served_is_no_request_for_anything_else(
    engine: Engine, label_set: LabelSet, model: str | None, taxonomy: str | None
) -> None:
    serving.check_request(engine, label_set, model, taxonomy)


def test_the_same_checkpoint_under_another_path_is_the_same_model(
    engine: Engine, label_set: LabelSet, model_copy: Path
) -> None:
    serving.check_request(engine, label_set, str(model_copy), None)
    moved = serving.load_model(label_set, str(model_copy))
    there = serving.load_model(label_set)
    for head, same in zip(moved.labeller.heads, there.labeller.heads, strict=True):
        assert np.array_equal(head.weights, same.weights)


def test_the_same_taxonomy_under_another_name_is_the_same(
    engine: Engine, label_set: LabelSet, tmp_path: Path
) -> None:
    from fashion_clip import taxonomies

    copy = shutil.copy(Path(next(iter(taxonomies.__path__))) / "demo.toml", tmp_path / "copy.toml")
    serving.check_request(engine, label_set, None, str(copy))


def test_another_model_is_refused_and_nothing_is_written(
    engine: Engine, label_set: LabelSet, other_model: Path
) -> None:
    before = contents_of(engine)
    with pytest.raises(UsageError) as caught:
        serving.check_request(engine, label_set, str(other_model), None)
    assert label_set.model_version in str(caught.value)
    assert repr(str(other_model)) in str(caught.value)
    with pytest.raises(UsageError):
        serving.load_model(label_set, str(other_model))
    assert contents_of(engine) == before


def test_another_taxonomy_is_refused(engine: Engine, label_set: LabelSet) -> None:
    with pytest.raises(UsageError, match=r"taxonomy 'demo', version \w{12}, and 'products' differs"):
        serving.check_request(engine, label_set, None, "products")


@pytest.mark.usefixtures("forgotten")
def test_weights_that_changed_under_the_registered_path_are_refused(engine: Engine, model_copy: Path) -> None:
    label_set = serving.begin_catalogue(engine, str(model_copy), "demo")
    change_weights(model_copy)
    serving._model.cache_clear()
    with pytest.raises(UsageError, match="has changed since the catalogue registered it"):
        serving.load_model(label_set)


@pytest.mark.usefixtures("forgotten")
def test_a_checkpoint_that_is_gone_is_told(engine: Engine, model_copy: Path) -> None:
    label_set = serving.begin_catalogue(engine, str(model_copy), "demo")
    shutil.rmtree(model_copy)
    serving._model.cache_clear()
    with pytest.raises(CheckpointError, match="moved"):
        serving.load_model(label_set)
    assert serving.load_model(label_set, DEMO_MODEL).encoder.identity == label_set.encoder_identity


def test_a_folder_is_named_by_its_whole_path_and_a_hub_model_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to("model")
    names = {
        serving.checkpoint_name(name)
        for name in ("model", "./model/", "link", "~/model", str(tmp_path / "model"))
    }
    assert names == {str((tmp_path / "model").resolve())}
    assert serving.checkpoint_name("openai/clip-vit-base-patch32") == "openai/clip-vit-base-patch32"

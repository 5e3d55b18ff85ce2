"""What the served labels are worth on the catalogue's truth: random truth alone where there is any."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from sklearn.metrics import accuracy_score
from sqlalchemy import Engine, insert, text, update

from fashion_clip.demo import truth
from fashion_clip.errors import UsageError
from fashion_clip.metrics import AttributeMetrics
from tasks.catalog import audit
from tasks.catalog.engine import writing
from tasks.catalog.tables import runs, shards
from tasks.evaluating import Evaluated
from tasks.evaluating_catalogue import DATA, evaluate_catalogue
from tasks.truth import import_truth
from tests.catalogue_fixtures import Tagged, contents_of, new_run, rows

pytestmark = pytest.mark.usefixtures("clean_environment")

TRUTH = truth()


def give(tagged: Tagged, names: list[str], columns: str = "", values: str = "") -> None:
    """Imports the demo's truth of those photos, as one file."""
    lines = [f"{name},{TRUTH[name]['category']},{TRUTH[name]['articleType']}{values}" for name in names]
    file = tagged.folder.parent / f"truth-{len(list(tagged.folder.parent.iterdir()))}.csv"
    file.write_text("\n".join([f"file,category,articleType{columns}", *lines]))
    assert import_truth(tagged.engine, file, "tester", False, False).imported == 2 * len(names)
    file.unlink()


def names_of(tagged: Tagged) -> list[str]:
    return sorted(file.name for file in tagged.folder.iterdir() if file.name in TRUTH)


def metrics_of(evaluated: Evaluated) -> dict[str, AttributeMetrics]:
    [evaluation] = evaluated.evaluations
    return {metrics.attribute: metrics for metrics in evaluation.attributes}


def served(engine: Engine, attribute: str) -> Mapping[str, str]:
    query = "SELECT uri, label FROM catalog_labels WHERE attribute = :attribute"
    return {uri.rpartition("/")[2]: label for uri, label in rows(engine, query, attribute=attribute)}


def test_the_accuracy_is_that_of_the_labels_people_see(tagged: Tagged) -> None:
    names = names_of(tagged)[:40]
    give(tagged, names)
    before = contents_of(tagged.engine)
    evaluated = evaluate_catalogue(tagged.engine, [])
    for attribute, metrics in metrics_of(evaluated).items():
        labels = served(tagged.engine, attribute)
        true = [TRUTH[name][attribute] for name in names]
        assert metrics.n == 40
        assert metrics.accuracy.estimate == pytest.approx(accuracy_score(true, [labels[n] for n in names]))
    [evaluation] = evaluated.evaluations
    assert (evaluation.model, evaluation.data) == (tagged.label_set.model_version, DATA)
    assert evaluation.taxonomy_version == tagged.label_set.taxonomy.version
    assert contents_of(tagged.engine) == before


def test_truth_that_was_not_drawn_is_told(tagged: Tagged) -> None:
    give(tagged, names_of(tagged)[:12])
    evaluation = evaluate_catalogue(tagged.engine, []).evaluations[0]
    assert evaluation.warnings[0] == (
        "category: none of its 12 photos with truth was drawn at random, so that the figures are theirs "
        "alone and not the catalogue's"
    )
    assert {(part.name, part.value, part.accuracy.n) for part in evaluation.slices} == {
        ("chosen", "unsampled", 12)
    }


def test_where_truth_was_drawn_at_random_it_alone_counts(tagged: Tagged) -> None:
    names = names_of(tagged)
    give(tagged, names[:20], ",chosen,inclusion_probability", ",random,0.5")
    give(tagged, names[20:30], ",chosen", ",review")
    evaluated = evaluate_catalogue(tagged.engine, [])
    assert {name: metrics.n for name, metrics in metrics_of(evaluated).items()} == {
        "category": 20,
        "articleType": 20,
    }
    [evaluation] = evaluated.evaluations
    assert evaluation.warnings[0] == (
        "category: measured on the 20 photos that were drawn at random; those that were not, 10, stand in "
        "the slice 'chosen' alone"
    )
    sliced = {(part.attribute, part.value): part.accuracy.n for part in evaluation.slices}
    assert sliced["category", "random"] == 20
    assert sliced["category", "review"] == 10


def warnings_of(engine: Engine) -> list[str]:
    return [one for one in evaluate_catalogue(engine, []).evaluations[0].warnings if "tells of" in one]


def test_of_which_photos_random_truth_tells_is_told_where_it_is_not_of_nearly_all(tagged: Tagged) -> None:
    """Of 61 photos, so many stand for those that were tagged before there was an audit."""

    def tag_before(photos: int) -> None:
        before = "SELECT photo_id FROM photos WHERE content_id IS NOT NULL ORDER BY uri DESC LIMIT :photos"
        with writing(tagged.engine) as connection:
            moved = text(f"UPDATE photos SET shard_id = :shard WHERE photo_id IN ({before})")
            connection.execute(moved, {"shard": shard, "photos": photos})

    give(tagged, names_of(tagged)[:10], ",chosen", ",review")
    assert warnings_of(tagged.engine) == []
    audit.draw(tagged.engine, tagged.run_id, 61)
    assert warnings_of(tagged.engine) == []
    run_id = new_run(tagged.engine)
    with writing(tagged.engine) as connection:
        values = {"run_id": run_id, "committed_at": datetime(2026, 1, 1, tzinfo=UTC)}
        empty = {"embedded": 0, "tagged": 0, "quarantined": 0}
        query = insert(shards).values(**values, **empty).returning(shards.c.shard_id)
        shard = connection.execute(query).scalar_one()
        connection.execute(
            update(runs)
            .where(runs.c.run_id == tagged.run_id)
            .values(started_at=datetime(2026, 3, 4, tzinfo=UTC))
        )
    tag_before(3)
    assert warnings_of(tagged.engine) == []
    tag_before(20)
    assert warnings_of(tagged.engine) == [
        "the random truth tells of 67 % of the catalogue's photos: those of runs since 2026-03-04 that were "
        "drawn from"
    ]


def test_truth_of_other_attributes_tells_accuracy_apart(tagged: Tagged) -> None:
    names = names_of(tagged)[:30]
    give(tagged, names)
    [evaluation] = evaluate_catalogue(tagged.engine, ["category", "chosen"]).evaluations
    found = {
        part.value: part.accuracy.n
        for part in evaluation.slices
        if (part.attribute, part.name) == ("articleType", "category")
    }
    expected = [TRUTH[name]["category"] for name in names]
    assert found == {value: expected.count(value) for value in set(expected)}
    with pytest.raises(UsageError, match=r"no truth of an attribute 'year' to slice by; there is some of "):
        evaluate_catalogue(tagged.engine, ["year"])


def test_vectors_and_pictures_are_at_hand(tagged: Tagged) -> None:
    names = names_of(tagged)[:5]
    give(tagged, names)
    evaluated = evaluate_catalogue(tagged.engine, [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fashion_clip.report.MOST", 3)
        assert len(evaluated.vectors()) == 3
    vectors = evaluated.vectors()
    assert {uri.rpartition("/")[2] for uri in vectors} == set(names)
    assert all(abs(float(vector @ vector) - 1) < 0.01 for vector in vectors.values())
    pictures = [evaluated.picture(uri) for uri in vectors]
    assert all(picture is not None for picture in pictures)


def test_without_truth_the_next_step_is_told(tagged: Tagged, engine: Engine) -> None:
    with pytest.raises(UsageError, match=r"no photo of the catalogue has truth: .*truth import FILE"):
        evaluate_catalogue(tagged.engine, [])
    with pytest.raises(UsageError, match="the catalogue is empty: tag some photos first"):
        evaluate_catalogue(engine, [])


def test_photos_that_cannot_be_reached_have_no_picture_and_that_is_all(tagged: Tagged) -> None:
    give(tagged, names_of(tagged)[:3])
    with writing(tagged.engine) as connection:
        connection.exec_driver_sql("UPDATE runs SET source = 'file:///gone/'")
        connection.exec_driver_sql("UPDATE photos SET uri = 'file:///gone/' || photo_id")
    evaluated = evaluate_catalogue(tagged.engine, [])
    assert metrics_of(evaluated)["category"].n == 3
    assert [evaluated.picture(uri) for uri in evaluated.vectors()] == [None] * 3

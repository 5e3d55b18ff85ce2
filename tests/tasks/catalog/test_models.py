"""Models, taxonomies and label sets: registered once, named plainly, and one set served."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from sqlalchemy import Engine

from fashion_clip.errors import CatalogError
from fashion_clip.taxonomy import load_taxonomy, parse_taxonomy
from tasks.catalog.models import LabelSet, ModelFacts, begin, served
from tests.catalogue_fixtures import contents_of, rows
from tests.servers.proxy import FaultProxy
from tests.tasks.catalog.databases import COMMIT, ON_POSTGRESQL, refuse
from tests.tasks.catalog.made_results import DEMO, FACTS, begun

REGISTERED = ("encoders", "model_versions", "taxonomies", "label_sets", "served_label_set", "served_log")


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("openai/clip-vit-base-patch32", "clip-vit-base-patch32"),
        ("/srv/models/Products CLIP (v2)", "products-clip-v2"),
        ("/srv/models/服装", "model"),
        ("/srv/" + "x" * 200, "x" * 60),
        ("owner/name@main", "name-main"),
    ],
)
def test_a_version_is_a_plain_name_and_the_start_of_the_fingerprint(checkpoint: str, name: str) -> None:
    facts = replace(FACTS, checkpoint=checkpoint)
    assert facts.version == f"{name}-{facts.fingerprint[:10]}"
    assert re.fullmatch(r"[a-z0-9-]+", facts.version)
    assert re.fullmatch(r"[0-9a-f]{64}", facts.fingerprint)


def test_a_fingerprint_tells_what_decides_the_answers_and_not_where_it_lies() -> None:
    assert replace(FACTS, checkpoint="/elsewhere").fingerprint == FACTS.fingerprint
    others = {
        replace(FACTS, encoder_identity="x").fingerprint,
        replace(FACTS, text_identity="x").fingerprint,
        replace(
            FACTS, encoder_identity=FACTS.text_identity, text_identity=FACTS.encoder_identity
        ).fingerprint,
    }
    assert len(others) == 3
    assert FACTS.fingerprint not in others


def test_an_empty_catalogue_serves_nothing(engine: Engine) -> None:
    assert served(engine) is None


def test_a_catalogue_begins_with_one_complete_set_that_is_served(engine: Engine) -> None:
    label_set = begun(engine)
    assert served(engine) == label_set
    assert (label_set.checkpoint, label_set.fingerprint) == (FACTS.checkpoint, FACTS.fingerprint)
    assert (label_set.encoder_identity, label_set.model_version) == (FACTS.encoder_identity, FACTS.version)
    assert label_set.taxonomy.version == DEMO.version
    assert rows(engine, "SELECT status FROM label_sets") == [("complete",)]
    assert rows(engine, "SELECT version, role, retired_at FROM model_history") == [
        (FACTS.version, "champion", None)
    ]
    assert len(rows(engine, "SELECT * FROM served_log WHERE served_to IS NULL")) == 1


def test_label_ids_stand_in_the_order_of_the_taxonomy(engine: Engine) -> None:
    label_set = begun(engine)
    names = dict(rows(engine, "SELECT label_id, name FROM label_names"))
    assert list(label_set.label_ids) == [attribute.name for attribute in label_set.taxonomy.attributes]
    for attribute in DEMO.attributes:
        ids = label_set.label_ids[attribute.name]
        assert [names[label_id] for label_id in ids] == [label.name for label in attribute.labels]
    assert len(names) == sum(len(attribute.labels) for attribute in DEMO.attributes)


def test_a_name_may_stand_in_two_attributes_and_in_any_script(engine: Engine) -> None:
    taxonomy = parse_taxonomy(
        {"name": "τ", "attributes": {"b 服": {"labels": ["Other", "黒"]}, "a": {"labels": ["Other", "it's"]}}}
    )
    label_set = begin(engine, FACTS, taxonomy)
    assert label_set.taxonomy == taxonomy
    assert label_set.label_ids["a"][0] != label_set.label_ids["b 服"][0]
    assert len(rows(engine, "SELECT * FROM label_names WHERE name = 'Other'")) == 2


def test_the_shipped_taxonomies_survive_the_database(engine: Engine) -> None:
    taxonomy = load_taxonomy("products")
    assert begin(engine, FACTS, taxonomy).taxonomy == taxonomy
    loaded = served(engine)
    assert loaded is not None
    assert loaded.taxonomy == taxonomy


def test_a_catalogue_that_has_begun_stays_with_its_model(engine: Engine) -> None:
    first = begun(engine)
    before = contents_of(engine)
    other = ModelFacts("another", "other tower", "other text", 8, "float32", "exact")
    assert begin(engine, other, load_taxonomy("products")) == first
    assert contents_of(engine) == before


def test_runs_that_begin_at_once_agree(engine: Engine) -> None:
    facts = [replace(FACTS, checkpoint=f"m{number}", encoder_identity=str(number)) for number in range(6)]
    at_once = Barrier(len(facts))

    def start(one: ModelFacts) -> LabelSet:
        at_once.wait()
        return begin(engine, one, DEMO)

    with ThreadPoolExecutor(len(facts)) as pool:
        sets = list(pool.map(start, facts))
    assert all(label_set == sets[0] for label_set in sets)
    assert {name: len(contents_of(engine)[name]) for name in REGISTERED} == dict.fromkeys(REGISTERED, 1)


@pytest.mark.parametrize("table", [*REGISTERED, "attributes", "label_names"])
def test_a_catalogue_begins_whole_or_not_at_all(engine: Engine, table: str) -> None:
    refuse(engine, "INSERT", table)
    with pytest.raises(CatalogError, match="refused"):
        begun(engine)
    assert not any(contents_of(engine).values())
    assert served(engine) is None


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", ["rst-before", "rst-after"])
def test_a_catalogue_that_begins_over_a_connection_that_breaks_begins_once(
    engine: Engine, far: Engine, proxy: FaultProxy, fault: str
) -> None:
    assert served(far) is None
    proxy.mode = f"{fault}:{COMMIT}:1"
    label_set = begun(far)
    assert proxy.struck == 1
    assert served(engine) == label_set
    assert {name: len(contents_of(engine)[name]) for name in REGISTERED} == dict.fromkeys(REGISTERED, 1)

"""Encoders, model versions, taxonomies and label sets, and which label set is served."""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from sqlalchemy import Connection, Engine, Table, insert, select, text, update

from fashion_clip.calibration import Calibration, parse_calibration
from fashion_clip.errors import UsageError
from fashion_clip.preprocessing import Decode
from fashion_clip.runtimes import Precision
from fashion_clip.taxonomy import Taxonomy, parse_taxonomy
from tasks.catalog.engine import one_at_a_time, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.tables import (
    attributes,
    encoders,
    label_names,
    label_sets,
    model_versions,
    served_label_set,
    served_log,
    taxonomies,
)

REGISTERED = "registry:"  # begins the checkpoint of a version that has a folder in MODELS_DIR


@dataclass(frozen=True)
class ModelFacts:
    """What identifies a model: two checkpoints with equal facts give equal answers.

    checkpoint: a hub name, a folder, or registry:VERSION for a folder of MODELS_DIR, and then digest is that
    folder's. precision, decode and generation are part of the encoder's identity and cannot be read from it.
    head: the version of the learned heads, None for zero-shot.
    """

    checkpoint: str
    encoder_identity: str
    text_identity: str
    dimension: int
    precision: Precision
    decode: Decode
    calibration: Calibration | None = None
    head: str | None = None
    digest: str | None = None
    generation: int = 1

    @property
    def fingerprint(self) -> str:
        """sha256 hex over all that the answers depend on."""
        parts = ["zero-shot" if self.head is None else self.head, self.encoder_identity, self.text_identity]
        if self.calibration is not None:
            parts.append(self.calibration.version)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def version(self) -> str:
        """The name people meet: the checkpoint's, made plain, and the start of the fingerprint."""
        made_from = re.sub(r"-[0-9a-f]{10}$", "", self.checkpoint.removeprefix(REGISTERED))
        name = re.sub(r"[^a-z0-9]+", "-", PurePath(made_from).name.lower()).strip("-") or "model"
        return f"{name[:60]}-{self.fingerprint[:10]}"


@dataclass(frozen=True)
class LabelSet:
    """A label set with every id that writing into it needs. Label ids stand in the taxonomy's order."""

    label_set_id: int
    encoder_id: int
    encoder_identity: str
    dimension: int
    precision: Precision
    decode: Decode
    generation: int
    model_version: str
    fingerprint: str
    checkpoint: str
    digest: str | None
    calibration: Calibration | None
    taxonomy: Taxonomy
    attribute_ids: dict[str, int]
    label_ids: dict[str, tuple[int, ...]]


@outlasts_outages
def served(engine: Engine) -> LabelSet | None:
    """The label set that `catalog_labels` shows; None while the catalogue is empty."""
    with reading(engine) as connection:
        label_set_id = connection.execute(select(served_label_set.c.label_set_id)).scalar()
        return None if label_set_id is None else _load(connection, label_set_id)


@outlasts_outages
def begin(engine: Engine, model: ModelFacts, taxonomy: Taxonomy) -> LabelSet:
    """Starts an empty catalogue: registers model and taxonomy, and serves their label set from now on.

    The set is complete, as it holds the labels of every content there is: none. If another run began the
    catalogue meanwhile, its label set is returned and nothing changes.
    """
    with writing(engine) as connection:
        one_at_a_time(connection)
        label_set_id = connection.execute(select(served_label_set.c.label_set_id)).scalar()
        if label_set_id is None:
            label_set_id = _register(connection, model, taxonomy)
            _serve_first(connection, label_set_id)
        return _load(connection, label_set_id)


@outlasts_outages
def label_set_for(engine: Engine, model_version: str, taxonomy: Taxonomy) -> LabelSet:
    """The label set of a registered model for a taxonomy: begun, or as it was left. Safe to repeat.

    Raises:
        UsageError: no such model is registered.
    """
    with writing(engine) as connection:
        one_at_a_time(connection)
        now = datetime.now(UTC)
        model = select(model_versions.c.model_version_id).where(model_versions.c.version == model_version)
        model_version_id = connection.execute(model).scalar()
        if model_version_id is None:
            raise UsageError(
                f"no model {model_version!r} is registered; see SELECT version FROM model_history"
            )
        row = {
            "version": taxonomy.version,
            "name": taxonomy.name,
            "document": _document(taxonomy),
            "created_at": now,
        }
        insert_or_nothing(connection, taxonomies, [row])
        _name_labels(connection, taxonomy)
        key = {
            "model_version_id": model_version_id,
            "taxonomy_id": connection.execute(
                select(taxonomies.c.taxonomy_id).where(taxonomies.c.version == taxonomy.version)
            ).scalar_one(),
        }
        insert_or_nothing(connection, label_sets, [{**key, "status": "building", "created_at": now}])
        found = connection.execute(select(label_sets.c.label_set_id).filter_by(**key)).scalar_one()
        return _load(connection, found)


@outlasts_outages
def label_set(engine: Engine, label_set_id: int) -> LabelSet:
    """A label set by its id."""
    with reading(engine) as connection:
        return _load(connection, label_set_id)


def keep_served(connection: Connection, moving: bool = False) -> int | None:
    """The id of the served label set, which stays the served one until this transaction ends.

    Whoever is `moving` the pointer is alone with it: all who keep it have committed by then.
    """
    query = select(served_label_set.c.label_set_id).with_for_update(read=not moving)
    return connection.execute(query).scalar()


def serve(connection: Connection, label_set: LabelSet, reason: str) -> None:
    """Moves the pointer to a label set that is whole, in a transaction that called keep_served to move it."""
    now = datetime.now(UTC)
    mine = label_sets.c.label_set_id == label_set.label_set_id
    connection.execute(
        update(label_sets)
        .where(mine, label_sets.c.status != "complete")
        .values(status="complete", completed_at=now)
    )
    connection.execute(update(served_label_set).values(label_set_id=label_set.label_set_id))
    connection.execute(update(served_log).where(served_log.c.served_to.is_(None)).values(served_to=now))
    row = {"label_set_id": label_set.label_set_id, "served_from": now, "reason": reason}
    connection.execute(insert(served_log).values(row))


def _document(taxonomy: Taxonomy) -> str:
    return json.dumps(taxonomy.to_document(), ensure_ascii=False)


def _register(connection: Connection, model: ModelFacts, taxonomy: Taxonomy) -> int:
    now = datetime.now(UTC)
    taxonomy_row = {
        "version": taxonomy.version,
        "name": taxonomy.name,
        "document": _document(taxonomy),
        "created_at": now,
    }
    _name_labels(connection, taxonomy)
    label_set = {
        "model_version_id": register(connection, model, "zero-shot" if model.head is None else "trained"),
        "taxonomy_id": _insert(connection, taxonomies, taxonomy_row),
        "status": "complete",
        "created_at": now,
        "completed_at": now,
    }
    return _insert(connection, label_sets, label_set)


def register(
    connection: Connection,
    model: ModelFacts,
    rung: str,
    parent_id: int | None = None,
    made: str | None = None,
) -> int:
    """The id of the model's version, which is made where there is none. made: JSON, how it came to be."""
    now = datetime.now(UTC)
    encoder = {
        "identity": model.encoder_identity,
        "dimension": model.dimension,
        "created_at": now,
        "precision": model.precision,
        "decode": model.decode,
        "generation": model.generation,
    }
    insert_or_nothing(connection, encoders, [encoder])
    of_model = encoders.c.identity == model.encoder_identity
    version = {
        "version": model.version,
        "fingerprint": model.fingerprint,
        "checkpoint": model.checkpoint,
        "encoder_id": connection.execute(select(encoders.c.encoder_id).where(of_model)).scalar_one(),
        "rung": rung,
        "parent_id": parent_id,
        "created_at": now,
        "calibration": model.calibration.to_json() if model.calibration else None,
        "digest": model.digest,
        "head": model.head,
        "made": made,
    }
    insert_or_nothing(connection, model_versions, [version])
    mine = model_versions.c.fingerprint == model.fingerprint
    return int(connection.execute(select(model_versions.c.model_version_id).where(mine)).scalar_one())


def _insert(connection: Connection, table: Table, row: dict[str, object]) -> int:
    key = next(iter(table.primary_key.columns))
    return int(connection.execute(insert(table).values(row).returning(key)).scalar_one())


def _name_labels(connection: Connection, taxonomy: Taxonomy) -> None:
    """Gives ids to names that have none yet; a name keeps its id across taxonomies."""
    insert_or_nothing(connection, attributes, [{"name": attribute.name} for attribute in taxonomy.attributes])
    ids = _attribute_ids(connection, taxonomy)
    rows = [
        {"attribute_id": ids[attribute.name], "name": label.name}
        for attribute in taxonomy.attributes
        for label in attribute.labels
    ]
    insert_or_nothing(connection, label_names, rows)


def _serve_first(connection: Connection, label_set_id: int) -> None:
    connection.execute(insert(served_label_set).values(only_row=1, label_set_id=label_set_id))
    connection.execute(
        insert(served_log).values(
            label_set_id=label_set_id, served_from=datetime.now(UTC), reason="first model of the catalogue"
        )
    )


def _load(connection: Connection, label_set_id: int) -> LabelSet:
    row = connection.execute(
        text(
            "SELECT s.label_set_id, m.encoder_id, e.identity AS encoder_identity, e.dimension,"
            " e.precision, e.decode, e.generation, m.version AS model_version, m.fingerprint, m.checkpoint,"
            " m.digest, m.calibration, t.document"
            " FROM label_sets s"
            " JOIN model_versions m ON m.model_version_id = s.model_version_id"
            " JOIN encoders e ON e.encoder_id = m.encoder_id"
            " JOIN taxonomies t ON t.taxonomy_id = s.taxonomy_id WHERE s.label_set_id = :label_set_id"
        ),
        {"label_set_id": label_set_id},
    ).one()
    fields = dict(row._mapping)
    taxonomy = parse_taxonomy(json.loads(fields.pop("document")))
    calibration = fields.pop("calibration")
    attribute_ids = _attribute_ids(connection, taxonomy)
    return LabelSet(
        **fields,
        calibration=None if calibration is None else parse_calibration(calibration),
        taxonomy=taxonomy,
        attribute_ids=attribute_ids,
        label_ids=_label_ids(connection, taxonomy, attribute_ids),
    )


def _attribute_ids(connection: Connection, taxonomy: Taxonomy) -> dict[str, int]:
    query = select(attributes.c.name, attributes.c.attribute_id)
    ids = dict(connection.execute(query).all())
    return {attribute.name: ids[attribute.name] for attribute in taxonomy.attributes}


def _label_ids(
    connection: Connection, taxonomy: Taxonomy, attribute_ids: dict[str, int]
) -> dict[str, tuple[int, ...]]:
    query = select(label_names.c.attribute_id, label_names.c.name, label_names.c.label_id)
    ids = {(attribute_id, name): label_id for attribute_id, name, label_id in connection.execute(query)}
    return {
        attribute.name: tuple(ids[attribute_ids[attribute.name], label.name] for label in attribute.labels)
        for attribute in taxonomy.attributes
    }

"""Shard results made up by hand: contents are words, their vectors come from their sha256."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, insert

from fashion_clip.scoring import Head, TopLabels, top_labels
from fashion_clip.taxonomy import Taxonomy, load_taxonomy
from tasks.catalog.commit import Outcome, ShardResult
from tasks.catalog.engine import writing
from tasks.catalog.models import LabelSet, ModelFacts, begin
from tasks.catalog.tables import work

DIMENSION = 4
FACTS = ModelFacts("made/up", "image tower", "text tower", DIMENSION)
DEMO = load_taxonomy("demo")


def begun(engine: Engine, facts: ModelFacts = FACTS) -> LabelSet:
    """The served label set of a catalogue that begins with a model that nobody has to load."""
    return begin(engine, facts, DEMO)


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def vector(content: str) -> npt.NDArray[np.float16]:
    values = np.frombuffer(bytes.fromhex(digest(content))[:DIMENSION], np.uint8) - np.float32(127.5)
    unit: npt.NDArray[np.float16] = (values / np.linalg.norm(values)).astype(np.float16)
    return unit


def heads(taxonomy: Taxonomy = DEMO) -> list[Head]:
    made = []
    for attribute in taxonomy.attributes:
        names = tuple(label.name for label in attribute.labels)
        weights = np.stack([vector(attribute.name + name) for name in names]).astype(np.float32)
        made.append(Head(attribute.name, names, weights, scale=5.0))
    return made


def top(contents: Iterable[str]) -> dict[str, TopLabels]:
    matrix = np.stack([vector(content) for content in contents]).astype(np.float32)
    return {head.attribute: top_labels(head, matrix) for head in heads()}


def shows(uri: str, content: str, token: str = "t1") -> Outcome:
    return Outcome(uri, product_id=uri.rpartition("/")[2], change_token=token, sha256=digest(content))


def broken(uri: str, token: str = "t1", reason: str = "broken") -> Outcome:
    """Its bytes were read and are no picture."""
    return Outcome(uri, uri.rpartition("/")[2], token, None, reason, "made up")


def unread(uri: str) -> Outcome:
    """Not a byte of it could be read."""
    return Outcome(uri, uri.rpartition("/")[2], None, None, "unreadable", "made up")


def result(outcomes: Iterable[Outcome], contents: Iterable[str] = ()) -> ShardResult:
    """The outcomes, with embeddings and labels of the contents, in their order."""
    contents = list(contents)
    return ShardResult(
        outcomes=list(outcomes),
        embedded={digest(content): vector(content) for content in contents},
        labelled=[digest(content) for content in contents],
        top=top(contents) if contents else {},
    )


def put_to_work(engine: Engine, run_id: int, uris: Iterable[str]) -> None:
    with writing(engine) as connection:
        connection.execute(insert(work), [{"uri": uri, "run_id": run_id} for uri in uris])

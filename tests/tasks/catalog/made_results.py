"""Shard results made up by hand: contents are words, their vectors come from their sha256."""

import hashlib
from collections.abc import Iterable
from datetime import timedelta

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, insert, update

from fashion_clip.scoring import Head, TopLabels, prompt_head, top_labels
from fashion_clip.taxonomy import Taxonomy, load_taxonomy
from tasks.catalog import ledger
from tasks.catalog.commit import ShardResult
from tasks.catalog.engine import clock, writing
from tasks.catalog.ledger import Claim
from tasks.catalog.models import LabelSet, ModelFacts, begin
from tasks.catalog.outcome import Outcome
from tasks.catalog.tables import work

DIMENSION = 4
FACTS = ModelFacts("made/up", "image tower", "text tower", DIMENSION, "float32", "exact")
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
        made.append(prompt_head(attribute.name, names, weights, scale=5.0))
    return made


def top(contents: Iterable[str]) -> dict[str, TopLabels]:
    matrix = np.stack([vector(content) for content in contents]).astype(np.float32)
    return {head.attribute: top_labels(head, matrix) for head in heads()}


def shows(uri: str, content: str, token: str = "t1") -> Outcome:
    return Outcome(uri, product_id=uri.rpartition("/")[2], change_token=token, sha256=digest(content))


def broken(uri: str, token: str = "t1", reason: str = "broken") -> Outcome:
    """Its bytes were read and are no picture."""
    return Outcome(uri, uri.rpartition("/")[2], token, None, reason, "made up")


def unread(uri: str, token: str = "t1") -> Outcome:
    """Not a byte of it could be read."""
    return Outcome(uri, uri.rpartition("/")[2], token, None, "unreadable", "made up", unread=True)


def result(outcomes: Iterable[Outcome], contents: Iterable[str] = ()) -> ShardResult:
    """The outcomes, with embeddings and labels of the contents, in their order."""
    contents = list(contents)
    return ShardResult(
        outcomes=list(outcomes),
        embedded={digest(content): vector(content) for content in contents},
        labelled=[digest(content) for content in contents],
        top=top(contents) if contents else {},
    )


def put_to_work(engine: Engine, run_id: int, uris: Iterable[str], token: str = "t1") -> None:
    """As a scan of the run would."""
    rows = [
        {"uri": uri, "change_token": token, "first_run_id": run_id, "last_run_id": run_id, "claims": 0}
        for uri in uris
    ]
    with writing(engine) as connection:
        connection.execute(insert(work), rows)


def claim_of(engine: Engine, run_id: int, uris: Iterable[str], token: str = "t1") -> Claim:
    """A claim of just these photos, of which the run had no work before."""
    uris = list(uris)
    put_to_work(engine, run_id, uris, token)
    return ledger.claim(engine, run_id, len(uris))


def end_leases(engine: Engine, *claims: Claim) -> None:
    """As if whoever holds them had died, or slept, for longer than a lease."""
    with writing(engine) as connection:
        past = clock(connection) - timedelta(seconds=1)
        held = work.c.owner.in_([claim.owner for claim in claims])
        connection.execute(update(work).where(held).values(leased_until=past))

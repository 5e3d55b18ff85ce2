"""From what a person names to a registered version."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine

from fashion_clip.errors import UsageError
from tasks import registry
from tasks.catalog import versions
from tasks.catalog.models import REGISTERED
from tasks.catalog.versions import Made
from tasks.serving import checkpoint_name, facts_of, load_like, next_generation, require_served


def version_for(engine: Engine, model: str) -> str:
    """A version by its name; a folder or a hub model that is none yet is copied to MODELS_DIR and registered.

    Raises:
        UsageError: there is no such version and no such model.
    """
    served = require_served(engine)
    known = {one.version for one in versions.history(engine)}
    if model in known or not _is_model(model):
        return versions.find(engine, model).version
    found = load_like(served, model)
    facts = facts_of(found)
    if (same := versions.of_fingerprint(engine, facts.fingerprint)) is not None:
        return same
    description = {
        "version": facts.version,
        "rung": "trained",
        "parent": None,
        "encoder": facts.encoder_identity,
        "precision": facts.precision,
        "decode": facts.decode,
    }
    digest = registry.publish(
        facts.version, found.encoder.folder, found.learned, found.calibration, description
    )
    facts = replace(facts, checkpoint=REGISTERED + facts.version, digest=digest)
    return versions.register(engine, facts, Made("trained", None, {"from": checkpoint_name(model)}))


def made_anew(engine: Engine) -> str:
    """The champion as a version whose embeddings are made anew, since they have changed on this machine."""
    served = require_served(engine)
    made = Made("reembed", served.model_version, {"why": "the same weights give other vectors here"})
    return versions.register(engine, next_generation(served), made)


def _is_model(name: str) -> bool:
    """A hub name has a slash, and a folder exists; a version has neither."""
    if "/" in name or Path(name).is_dir():
        return True
    if "." in name or "~" in name:
        raise UsageError(f"{name!r} is neither a folder nor a version; see fashion-clip models list")
    return False

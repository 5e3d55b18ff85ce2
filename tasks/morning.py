"""What a person should know and do in the morning: what failed and why, what waits, what has changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, text

from tasks.catalog.engine import outlasts_outages, reading
from tasks.catalog.runs import RunSummary
from tasks.summary import cell

REASONS = 8
EXPLAINED = {
    "worker_died": "three runs died over it; it is left alone until it changes",
    "too_large": "above FASHION_CLIP_MAX_BYTES or FASHION_CLIP_MAX_PIXELS",
    "too_slow": "it took longer than FASHION_CLIP_DECODE_SECONDS to decode",
    "gone": "listed, and not there any more when it was read",
    "forbidden": "the source does not let this job read it",
}


@dataclass(frozen=True)
class Failure:
    """So many photos of a run went to quarantine for a reason; `example` is one of them."""

    reason: str
    photos: int
    example: str


@dataclass(frozen=True)
class Waiting:
    """What waits for a person. challenger: a model that passed the gate. audited: photos drawn of the run."""

    failures: tuple[Failure, ...]
    challenger: str | None
    audited: int


@outlasts_outages
def waiting(engine: Engine, run_id: int) -> Waiting:
    """What the run left to people; its cost grows with the night, not with the catalogue."""
    failed = text(
        "SELECT q.reason, COUNT(*) AS photos, MIN(p.uri) AS example FROM shards h CROSS JOIN photos p"
        " CROSS JOIN quarantine q WHERE h.run_id = :run_id AND p.shard_id = h.shard_id"
        f" AND q.photo_id = p.photo_id GROUP BY q.reason ORDER BY COUNT(*) DESC LIMIT {REASONS}"
    )
    challenger = text(
        "SELECT m.version FROM retrainings t JOIN gates g ON g.retraining_id = t.retraining_id"
        " JOIN model_versions m ON m.model_version_id = g.challenger_id"
        " WHERE t.is_open = 1 AND t.outcome = 'waiting' AND g.passed = 1 ORDER BY g.gate_id DESC"
    )
    audited = text("SELECT COUNT(*) FROM audit_samples WHERE run_id = :run_id")
    with reading(engine) as connection:
        failures = tuple(Failure(*row) for row in connection.execute(failed, {"run_id": run_id}))
        return Waiting(
            failures,
            connection.execute(challenger).scalar(),
            int(connection.execute(audited, {"run_id": run_id}).scalar_one()),
        )


def brief(run: RunSummary, found: Waiting) -> str:
    """The part of the night's artifact that comes first: what to do, and what failed."""
    to_do = []
    if found.challenger is not None:
        to_do.append(
            f"Model `{found.challenger}` has passed the gate and waits for a word: resume its run here, or "
            f"`fashion-clip models approve {found.challenger}`, or `reject`."
        )
    if run.remaining:
        to_do.append(f"{run.remaining:,} photos remain; the next run takes them up.")
    if found.failures:
        to_do.append("See what failed: `fashion-clip quarantine list`; try again: `quarantine retry`.")
    if found.audited:
        to_do.append(
            f"Say what {found.audited} photos drawn at random show: `fashion-clip export review.html "
            "--review`, then `fashion-clip truth import FILE`."
        )
    parts = []
    if to_do:
        parts.append("\n".join(["## What to do", "", *(f"- {line}" for line in to_do)]))
    if found.failures:
        parts.append(_failures(found.failures))
    return "\n\n".join(parts)


def _failures(failures: Sequence[Failure]) -> str:
    rows = ["## What failed", "", "| photos | reason | such as |", "|---:|---|---|"]
    for one in failures:
        why = f": {EXPLAINED[one.reason]}" if one.reason in EXPLAINED else ""
        rows.append(f"| {one.photos:,} | {cell(one.reason)}{why} | {cell(one.example)} |")
    return "\n".join(rows)

"""The check in the Prefect UI: a sentence, a row an attribute, what to do, a picture of the last nights."""

from collections.abc import Sequence

from fashion_clip.accuracy_alarm import TOTAL
from tasks.catalog.accuracy import AttributeReading, Check
from tasks.catalog.accuracy_drops import Drop
from tasks.catalog.estimates import Estimate
from tasks.evaluation_artifact import picture_of
from tasks.summary import cell

SHOWN = 60  # looks in the picture


def markdown(
    looks: Sequence[Check],
    estimates: Sequence[Estimate],
    drop: Drop | None,
    told: Sequence[str],
    attributes: int,
) -> str:
    """The artifact's text.

    Args:
        looks: the last ones at what is served, oldest first; one at least.
        estimates: of the photos of the last run.
        drop: that has yet to be answered.
        told: what the close watch of a promotion and the looks for drift have to say.
        attributes: that are watched together.
    """
    last, guessed = looks[-1], {one.attribute: one for one in estimates}
    parts = [
        f"# {sentence(last)}",
        _table(last, guessed, TOTAL / attributes),
        "\n".join(f"- {cell(sentence)}" for sentence in told),
        _to_do(last, drop),
        _picture(looks),
    ]
    return "\n\n".join(part for part in parts if part)


def sentence(check: Check) -> str:
    """What a look told, in a few words."""
    by_status = {
        status: [cell(one.attribute) for one in check.readings if one.status == status]
        for status in ("dropped", "watch", "waiting")
    }
    if by_status["dropped"]:
        return f"Accuracy has dropped: {', '.join(by_status['dropped'])}"
    if by_status["watch"]:
        return f"No drop; {', '.join(by_status['watch'])} to be watched"
    if len(by_status["waiting"]) == len(check.readings):
        return "No baseline yet: too little truth"
    return "No drop in accuracy"


def _table(check: Check, guessed: dict[str, Estimate], level: float) -> str:
    rows = [
        "| attribute | status | right | of | 95 % interval | at least | evidence | guessed | new |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in check.readings:
        estimate = guessed.get(one.attribute)
        values = (
            f"**{one.status}**" if one.status == "dropped" else one.status,
            _percent(one.accuracy),
            f"{one.n:,}",
            "" if one.ci_low is None else f"{one.ci_low:.1%} to {one.ci_high:.1%}",
            _percent(one.baseline),
            "" if one.e_value is None else f"{min(one.e_value * level, 1):.0%}",
            _percent(estimate.estimated_accuracy if estimate else None),
            str(one.counted),
        )
        rows.append(f"| {cell(one.attribute)} | {' | '.join(values)} |")
    note = (
        "*right*: of random truth of the last 28 nights, or all so far while it waits for a baseline. "
        "*at least*: what the champion had when it began, with 95 % certainty. *evidence*: of a drop; at "
        "100 % it alarms. *guessed*: of the last night's photos, by calibrated confidences. *new*: truths "
        "that came since the last look."
    )
    return "\n".join(rows) + f"\n\n{note}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _to_do(check: Check, drop: Drop | None) -> str:
    waiting = [one for one in check.readings if one.status == "waiting"]
    if drop is not None or any(one.status == "dropped" for one in check.readings):
        asked = "A retraining is asked for" if drop is not None else "A retraining has been the answer"
        return (
            f"{asked}: `fashion-clip models list`. What helps is truth of the newest photos: "
            "`fashion-clip export review.html --review`, then `fashion-clip truth import FILE`."
        )
    if waiting:
        most = max(one.baseline_n for one in waiting)
        return (
            f"Look at the audit sample to make a baseline ({most} truths so far): "
            "`fashion-clip export review.html --review`, then `fashion-clip truth import FILE`."
        )
    return ""


def _picture(looks: Sequence[Check]) -> str:
    from fashion_clip.plots.accuracy_watch import Point, accuracy_watch

    if len(looks) < 2:
        return ""

    def point(check: Check, one: AttributeReading) -> Point:
        dropped = one.status == "dropped"
        return Point(check.checked_at, one.accuracy, one.ci_low, one.ci_high, one.baseline, dropped)

    points: dict[str, list[Point]] = {one.attribute: [] for one in looks[-1].readings}
    for check in looks:
        for one in check.readings:
            points[one.attribute].append(point(check, one))
    return picture_of("accuracy of the last nights", accuracy_watch(points))

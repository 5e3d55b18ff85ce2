"""A verdict of the gate in the Prefect UI: the sentence, figures, vetoes and what passed, as Markdown."""

from collections.abc import Sequence

from fashion_clip.verdict import Check, Kind, Verdict, reason
from tasks.evaluation_artifact import picture_of
from tasks.summary import cell

MOST_REASONS = 20
_PASSED = {
    Kind.ATTRIBUTE: "No loss of accuracy beyond {limit:.3g} points that is more than chance in {count}",
    Kind.LABEL: "No loss of recall shown to be beyond {limit:.3g} points in {count}",
    Kind.KEPT_OUT: "Zero-shot on labels kept out of training holds in {count}",
    Kind.CALIBRATION: "Confidences do not err by more than {limit:.3g} points more in {count}",
}
_WORDS = {Kind.LABEL: ("label", "labels")}


def markdown(verdict: Verdict) -> str:
    """The artifact's text, short: labels are counted, and named only where they reject; and a picture."""
    from fashion_clip.plots.gate import gate

    rejecting = [check for check in verdict.failed if check.kind is not Kind.GAIN]
    parts = [
        f"# {'Better' if verdict.passed else 'Rejected'}",
        f"{cell(verdict.sentence)}.",
        _attributes(verdict),
        _reasons(rejecting, verdict.level),
        _passed(verdict),
        picture_of("gains and losses with their intervals", gate(verdict)) if verdict.checks else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _attributes(verdict: Verdict) -> str:
    checks = [*verdict.of(Kind.GAIN), *verdict.of(Kind.ATTRIBUTE), *verdict.of(Kind.KEPT_OUT)]
    if not checks:
        return ""
    rows = [
        "| attribute | products | champion | challenger | points | 95 % interval | p | |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    rows += [f"| {' | '.join(_row(check))} |" for check in checks]
    note = (
        "p is of a gain in the first row, which is the primary attribute, and of a loss in the others."
        if verdict.of(Kind.GAIN)
        else "p is of a loss."
    )
    return "\n".join(rows) + f"\n\n{note}"


def _row(check: Check) -> list[str]:
    name = cell(check.attribute) + (", kept out of training" if check.kind is Kind.KEPT_OUT else "")
    return [
        f"**{name}**" if check.kind is Kind.GAIN else name,
        f"{check.n:,}",
        f"{check.champion:.1%}",
        f"{check.challenger:.1%}",
        f"{100 * check.difference:+.1f}",
        ""
        if check.low is None or check.high is None
        else f"{100 * check.low:+.1f} to {100 * check.high:+.1f}",
        f"{check.p_value:.2g}",
        "" if check.passed else "no gain" if check.kind is Kind.GAIN else "veto",
    ]


def _reasons(rejecting: Sequence[Check], level: float) -> str:
    if not rejecting:
        return ""
    told = [f"- {cell(reason(check, level))}" for check in rejecting[:MOST_REASONS]]
    if len(rejecting) > MOST_REASONS:
        told.append(f"- and {len(rejecting) - MOST_REASONS} others")
    return "\n".join(["## Vetoes", "", *told])


def _passed(verdict: Verdict) -> str:
    told = []
    for kind, sentence in _PASSED.items():
        passed = [check for check in verdict.of(kind) if check.passed]
        if passed:
            one, several = _WORDS.get(kind, ("attribute", "attributes"))
            count = f"{len(passed):,} {one if len(passed) == 1 else several}"
            told.append(f"- {sentence.format(limit=abs(100 * passed[0].limit), count=count)}.")
    return "\n".join(["## Checked and passed", "", *told]) if told else ""

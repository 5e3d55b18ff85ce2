"""The verdict as Markdown: the sentence, a row an attribute, every reason, names as plain text."""

from fashion_clip.gate import Judged, Rules, judge
from fashion_clip.verdict import Kind, Verdict
from tasks.gate_artifact import MOST_REASONS, markdown
from tests.fashion_clip.predictions_made_up import at_random

LABELS = ["a|b", "<c>", "d"]


def seen(right: float, other: float, attribute: str = "[kind]|", size: int = 400) -> Verdict:
    """A champion right of 70 % of either attribute, and a challenger."""
    models = [
        Judged(
            (at_random(LABELS, size, 3, kind, attribute), at_random("xyz", size, 4, colour, "colour")),
        )
        for kind, colour in ((0.7, 0.7), (right, other))
    ]
    return judge(models[0], models[1], Rules(attribute), 0.01)


def rows(page: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]


def test_one_that_passed() -> None:
    verdict = seen(0.98, 0.75)
    page = markdown(verdict)
    assert page.startswith("# Better\n\nbetter: the accuracy of \\[kind\\]\\| rises")
    kind, colour = rows(page)
    gain = verdict.of(Kind.GAIN)[0]
    assert kind[0] == "**\\[kind\\]\\|**"
    assert kind[1:5] == [
        "200",
        f"{gain.champion:.1%}",
        f"{gain.challenger:.1%}",
        f"{100 * gain.difference:+.1f}",
    ]
    assert colour[0] == "colour"
    assert "## Vetoes" not in page
    assert "- No loss of recall shown to be beyond 10 points in 6 labels." in page


def test_one_that_was_rejected() -> None:
    verdict = seen(0.98, 0.2)
    page = markdown(verdict)
    assert page.startswith("# Rejected\n\nrejected, because the accuracy of colour falls")
    assert rows(page)[1][-1] == "veto"
    reasons = page.partition("## Vetoes")[2].partition("## Checked")[0]
    assert reasons.count("\n- ") == len(verdict.failed)
    assert "- No loss of accuracy" not in page


def test_many_reasons_are_counted() -> None:
    labels = [f"label {number}" for number in range(30)]
    models = [Judged((at_random(labels, 6000, 3, right),)) for right in (1.0, 0.0)]
    verdict = judge(models[0], models[1], Rules("kind"), 0.01)
    page = markdown(verdict)
    assert f"- and {len(verdict.failed) - 1 - MOST_REASONS} others" in page


def test_without_truth_the_sentence_stands_alone() -> None:
    page = markdown(judge(Judged(()), Judged(()), Rules("kind"), 0.01))
    assert page == (
        "# Rejected\n\nrejected, because only 0 products have truth of kind that may judge, "
        "and at least 7 are needed."
    )

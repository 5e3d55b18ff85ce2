"""An evaluation in the Prefect UI: its figures as a table and as Markdown with small pictures."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from fashion_clip.evaluation import Evaluation
from fashion_clip.slices import Slice
from tasks.evaluating import Evaluated
from tasks.summary import cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 1400  # pixels of a picture
COLOURS = 64
MOST_SLICES = 40  # rows of the table of slices


def figures(evaluated: Evaluated) -> list[dict[str, Any]]:
    """A row a model and attribute; shares are rounded to four decimals."""
    return [
        {
            "attribute": metrics.attribute,
            "model": evaluation.model,
            "photos": metrics.n,
            "products": metrics.products,
            "accuracy": round(metrics.accuracy.estimate, 4),
            "at least": round(metrics.accuracy.low, 4),
            "at most": round(metrics.accuracy.high, 4),
            "top 5": round(metrics.top5, 4),
            "macro F1": round(metrics.macro_f1, 4),
            "weighted F1": round(metrics.weighted_f1, 4),
            "calibration error": round(metrics.calibration_error, 4),
            "coverage at 95 %": round(metrics.coverage_at_95, 4),
        }
        for number, _ in enumerate(evaluated.evaluations[0].attributes)
        for evaluation in evaluated.evaluations
        for metrics in [evaluation.attributes[number]]
    ]


def markdown(evaluated: Evaluated, run_id: int) -> str:
    """The artifact's text; pictures stand in it as data: addresses."""
    evaluation = evaluated.evaluations[0]
    rows = figures(evaluated)
    parts = [
        f"# Run {run_id}: {cell(evaluation.model)}",
        f"On {cell(evaluation.data)}, taxonomy version `{evaluation.taxonomy_version[:12]}`. Shares of "
        "photos, with 95 % intervals by product.",
        _table(list(rows[0]), [list(row.values()) for row in rows]),
        *(f"- {cell(warning)}" for warning in evaluation.warnings),
        _slices(evaluation),
        *_pictures(evaluated, evaluation),
    ]
    return "\n\n".join(part for part in parts if part)


def _slices(evaluation: Evaluation) -> str:
    """First those that at their best come least near the accuracy of the whole."""
    slices = evaluation.slices
    if not slices:
        return ""
    whole = {metrics.attribute: metrics.accuracy.estimate for metrics in evaluation.attributes}
    worst = sorted(slices, key=lambda part: part.accuracy.high - whole[part.attribute])
    rows = [
        [part.attribute, part.name, part.value, part.accuracy.n, *_interval(part)]
        for part in worst[:MOST_SLICES]
    ]
    left = f"\n\nAnd {len(slices) - MOST_SLICES} others." if len(slices) > MOST_SLICES else ""
    columns = ["attribute", "slice", "value", "photos", "accuracy", "at least", "at most"]
    return f"## Slices, the weakest first\n\n{_table(columns, rows)}{left}"


def _interval(part: Slice) -> list[float]:
    accuracy = part.accuracy
    return [round(share, 4) for share in (accuracy.estimate, accuracy.low, accuracy.high)]


def _pictures(evaluated: Evaluated, evaluation: Evaluation) -> list[str]:
    from fashion_clip.plots.confusion import confusion_matrix
    from fashion_clip.plots.reliability import reliability

    parents = evaluated.first_parents()
    parts = []
    for said in evaluation.predictions:
        parts.append(f"## {cell(said.attribute)}")
        parts.append(picture_of(f"confidence and accuracy of {said.attribute}", reliability(said)))
        if (said.truth >= 0).any():
            matrix = confusion_matrix(said, parents.get(said.attribute))
            parts.append(picture_of(f"confusion of {said.attribute}", matrix))
    return parts


def picture_of(name: str, figure: "Figure") -> str:
    """A figure as Markdown, in few colours, its bytes in a data: address."""
    from fashion_clip.plots.style import to_png

    out = BytesIO()
    with Image.open(BytesIO(to_png(figure))) as png:
        picture = png.convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS).save(out, "PNG", optimize=True)
    return f"![{cell(name)}](data:image/png;base64,{base64.b64encode(out.getvalue()).decode()})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---:" if isinstance(value, int | float) else "---" for value in rows[0]]]
    lines += [[cell(str(value)) for value in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

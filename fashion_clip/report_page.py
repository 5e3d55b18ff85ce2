"""The HTML of a report: one page without scripts, with its pictures in it."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources
from string import Template

from fashion_clip.evaluation import Evaluation, compare
from fashion_clip.intervals import Share
from fashion_clip.metrics import AttributeMetrics
from fashion_clip.plots.mistakes import names_of, surest_mistakes
from fashion_clip.predictions import Predictions
from fashion_clip.slices import Slice

OPEN = 12  # rows of slices that are shown without being asked for


@dataclass(frozen=True)
class Picture:
    """A PNG or JPEG. file: its name in the folder of pictures. whole: takes the page's width."""

    file: str
    content: bytes
    caption: str
    whole: bool


def page(
    evaluations: Sequence[Evaluation], pictures: Mapping[str, Sequence[Picture]], written_at: datetime
) -> str:
    """The first evaluation in full, the others beside it in one table.

    Args:
        pictures: attribute -> its pictures, in order.
        written_at: shown as it is.
    """
    first = evaluations[0]
    parts = [_head(first, written_at), _warnings(evaluations), _summary(first)]
    parts += [_comparison(first, other) for other in evaluations[1:]]
    for number, (metrics, predictions) in enumerate(zip(first.attributes, first.predictions, strict=True), 1):
        found = [entry for entry in first.slices if entry.attribute == metrics.attribute]
        parts += [
            f'<section id="attribute-{number}"><h2>{escape(metrics.attribute)}</h2>',
            _lead(metrics),
            _pictures(pictures.get(metrics.attribute, ())),
            _slices(found),
            _labels(metrics),
            _mistakes(predictions),
            "</section>",
        ]
    template = Template((resources.files("fashion_clip") / "report.html").read_text("utf-8"))
    return template.substitute(title=escape(f"Evaluation of {first.model}"), body="\n".join(parts))


def _head(evaluation: Evaluation, written_at: datetime) -> str:
    photos = {photo for predictions in evaluation.predictions for photo in predictions.photos}
    facts = {
        "Data": evaluation.data,
        "Photos": f"{len(photos):,}",
        "Attributes": str(len(evaluation.attributes)),
        "Taxonomy": evaluation.taxonomy_version[:12],
        "Written": f"{written_at:%Y-%m-%d %H:%M %Z}",
    }
    told = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f"<header><h1>Evaluation of {escape(evaluation.model)}</h1><dl>{told}</dl></header>"


def _warnings(evaluations: Sequence[Evaluation]) -> str:
    several = len(evaluations) > 1
    told = [
        escape(f"{evaluation.model}: {warning}" if several else warning)
        for evaluation in evaluations
        for warning in evaluation.warnings
    ]
    if not told:
        return ""
    items = "".join(f"<li>{warning}</li>" for warning in told)
    return f'<div class="warnings"><strong>Before you read on</strong><ul>{items}</ul></div>'


def _summary(evaluation: Evaluation) -> str:
    rows = [
        [
            _name(f'<a href="#attribute-{number}">{escape(metrics.attribute)}</a>'),
            _number(f"{metrics.n:,}"),
            _share(metrics.accuracy),
            _number(_percent(metrics.top5)),
            _number(f"{metrics.macro_f1:.3f}"),
            _number(f"{metrics.weighted_f1:.3f}"),
            _number(f"{metrics.calibration_error:.3f}"),
            _number(_percent(metrics.coverage_at_95)),
        ]
        for number, metrics in enumerate(evaluation.attributes, 1)
    ]
    last = ("Macro F1", "Weighted F1", "Calibration error", "Coverage at 95 % precision")
    headings = ("Attribute", "Photos", "Accuracy", "Among the first 5", *last)
    weighted = any((predictions.weights != 1).any() for predictions in evaluation.predictions)
    note = (
        "Ranges are 95 % intervals; photos of one product count as one observation. Macro F1 is the mean "
        "over the labels that occur as truth or as prediction. Calibration error is the mean distance "
        "between confidence and accuracy in bins of equally many photos. Coverage at 95 % precision is the "
        "largest share of photos, the surest first, of which 95 % are right: it describes these photos and "
        "promises nothing of others."
    )
    if weighted:
        note += " Shares are weighted with 1 / inclusion probability."
    return f'<h2>Summary</h2>{_table(headings, rows)}<p class="note">{note}</p>'


def _comparison(first: Evaluation, other: Evaluation) -> str:
    beside = {metrics.attribute: metrics for metrics in other.attributes}
    differences = compare(first, other)
    rows = []
    for metrics in first.attributes:
        if metrics.attribute not in beside:
            continue
        told = _number("other photos")
        if metrics.attribute in differences:
            found = differences[metrics.attribute]
            clear = ' class="clear"' if found.low > 0 or found.high < 0 else ""
            span = f'<span class="range">{100 * found.low:+.1f} to {100 * found.high:+.1f}</span>'
            told = _number(f"<span{clear}>{100 * found.estimate:+.1f} points</span>{span}")
        shares = [_share(metrics.accuracy), _share(beside[metrics.attribute].accuracy)]
        rows.append([_name(escape(metrics.attribute)), *shares, told])
    if not rows:
        return ""
    headings = ("Attribute", escape(first.model), escape(other.model), "Difference")
    note = (
        "Accuracy. Differences are of pairs, on the same photos, with 95 % intervals by product (Bonett and "
        "Price 2012); in bold where the interval leaves out zero."
    )
    title = f"<h2>Beside {escape(other.model)}</h2>"
    data = f'<p class="note">Measured on {escape(other.data)}.</p>' if other.data != first.data else ""
    return f'{title}{data}{_table(headings, rows)}<p class="note">{note}</p>'


def _lead(metrics: AttributeMetrics) -> str:
    accuracy = metrics.accuracy
    told = (
        f"<strong>{_percent(accuracy.estimate)}</strong> of {metrics.n:,} photos of {metrics.products:,} "
        f"products have the right label (95 % interval {_range(accuracy)})."
    )
    if metrics.outside:
        told += f" Where the truth is none of the labels ({metrics.outside:,} of them), that counts as wrong."
    return f"<p>{told}</p>"


def _pictures(pictures: Iterable[Picture]) -> str:
    figures = []
    for picture in pictures:
        kind = "png" if picture.file.endswith(".png") else "jpeg"
        source = f"data:image/{kind};base64,{base64.b64encode(picture.content).decode('ascii')}"
        caption = escape(picture.caption)
        figures.append(
            f"<figure{' class=whole' if picture.whole else ''}><label>"
            f'<input type="checkbox" aria-label="full size"><img src="{source}" alt="{caption}"></label>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(figures)}</div>'


def _slices(found: Sequence[Slice]) -> str:
    if not found:
        return ""
    rows = [
        [
            _name(escape(entry.name)),
            _name(escape(entry.value)),
            _number(f"{entry.accuracy.n:,}"),
            _share(entry.accuracy),
        ]
        for entry in found
    ]
    table = _table(("Column", "Value", "Photos", "Accuracy"), rows)
    state = " open" if len(rows) <= OPEN else ""
    return f"<details{state}><summary>In parts of the data</summary>{table}</details>"


def _labels(metrics: AttributeMetrics) -> str:
    rows = [
        [
            _name(escape(label.label)),
            _number(f"{label.support:,}"),
            _number(f"{label.predicted:,}"),
            _number(_percent(label.precision) if label.predicted else "-"),
            _number(
                f'{_percent(label.recall)}<span class="range">{100 * label.recall_low:.1f} to '
                f"{100 * label.recall_high:.1f} %</span>"
                if label.support
                else "-"
            ),
            _number(f"{label.f1:.3f}" if label.support or label.predicted else "-"),
        ]
        for label in metrics.labels
    ]
    headings = ("Label", "Photos with it", "Photos given it", "Precision", "Recall", "F1")
    return f"<details><summary>All {len(rows)} labels</summary>{_table(headings, rows)}</details>"


def _mistakes(predictions: Predictions) -> str:
    rows = []
    for row in surest_mistakes(predictions):
        true, given = names_of(predictions, int(row))
        cells = [_name(escape(text)) for text in (predictions.photos[row], true, given)]
        rows.append([*cells, _number(f"{predictions.confidence[row]:.3f}")])
    if not rows:
        return ""
    headings = ("Photo", "Truth", "Given", "Confidence")
    return f"<details><summary>The surest mistakes</summary>{_table(headings, rows)}</details>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """headings and cells are HTML; a cell is a whole <td>."""
    numeric = [cell.startswith('<td class="number"') for cell in rows[0]] if rows else [False] * len(headings)
    head = "".join(
        f"<th{' class=number' if right else ''}>{heading}</th>"
        for heading, right in zip(headings, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _name(content: str) -> str:
    return f'<td class="name">{content}</td>'


def _number(content: str) -> str:
    return f'<td class="number">{content}</td>'


def _share(share: Share) -> str:
    bar = f'<span class="bar" style="--share: {100 * share.estimate:.1f}%"></span>'
    return _number(f'{_percent(share.estimate)}<span class="range">{_range(share)}</span>{bar}')


def _range(share: Share) -> str:
    return f"{100 * share.low:.1f} to {100 * share.high:.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

"""`fashion-clip evaluate`: how good a model is on labelled photos, or the served labels on their truth."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import complain, fail, one_line, print_json, print_table
from cli.prefect_setup import prepare_prefect

if TYPE_CHECKING:
    from fashion_clip.evaluation import Evaluation
    from fashion_clip.intervals import Share
    from tasks.evaluating import Evaluated, Wanted


def evaluate(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A folder of class folders, a folder with labels.csv or metadata.csv, FILE.parquet, "
            "hf://NAME:SPLIT or OWNER/NAME of the hub; the truth in the catalogue if left out."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Hub name or folder of a CLIP checkpoint; give the option again to compare more."),
    ] = None,
    taxonomy: Annotated[
        str | None, typer.Option(help="Shipped taxonomy's name or TOML file that the data is labelled with.")
    ] = None,
    attribute: Annotated[
        str | None, typer.Option(help="Measure this one; class folders are then labels of it.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--slice", help="A column to tell accuracy apart by; give the option again for more."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="A folder for an HTML report with pictures, new or an earlier report.", show_default=False
        ),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write the figures of a data set to the catalogue, too.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Photos at most, drawn at random, the same ones each time.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Measure accuracy, with intervals, and calibration, attribute by attribute.

    On a data set nothing is written to the catalogue, and none is needed,
    unless --record is given. Without a data set, the labels that the catalogue
    serves are measured on the truth that people gave, and that is recorded.
    """
    from tasks.evaluating import Wanted

    wanted = Wanted(dataset, tuple(model or ()), taxonomy, attribute, tuple(by or ()), limit)
    if report is not None:
        from fashion_clip.report import check_report_folder

        check_report_folder(report)
    in_sql = record or dataset is None
    try:
        evaluated = _recorded(wanted, debug=bool(context.obj)) if in_sql else _measured(wanted)
        index = None if report is None else _write_report(report, evaluated)
    except KeyboardInterrupt:
        fail("interrupted; run it again, nothing is half written", code=130)
    if as_json:
        from fashion_clip.evaluation import document

        print_json(document(evaluated.evaluations) | ({} if index is None else {"report": str(index)}))
        return
    _print(evaluated.evaluations, wanted.slices)
    if index is not None:
        print(f"report: {str(index)!r}")


def _measured(wanted: "Wanted") -> "Evaluated":
    from tasks.evaluating import evaluate_data
    from tasks.progress import shown

    with shown(logging.getLogger(__name__), "evaluating") as progress:
        return evaluate_data(wanted, progress)


def _recorded(wanted: "Wanted", debug: bool) -> "Evaluated":
    """Runs the flow in this process; wrong use is told in a second, before Prefect starts."""
    from dataclasses import asdict

    from tasks import environment
    from tasks.evaluating_catalogue import require_truth
    from tasks.photo_tables import source_of

    engine = environment.catalogue()
    if wanted.dataset is None:
        require_truth(engine)
    else:
        source_of(wanted.dataset)
    prepare_prefect(debug)
    from flows.evaluate_model import evaluate_model

    evaluated: Evaluated = evaluate_model(**asdict(wanted))
    return evaluated


def _print(evaluations: "Sequence[Evaluation]", slices: Sequence[str]) -> None:
    first, *others = evaluations
    for evaluation in evaluations:
        print(f"{evaluation.model} on {evaluation.data}")
        _print_attributes(evaluation)
    for other in others:
        _print_difference(first, other)
    if slices:
        print()
        _print_slices(first, slices)
    elif first.slices:
        names = ", ".join(dict.fromkeys(part.name for part in first.slices))
        print(one_line(f"accuracy by {names}: see --slice, --json or --report"))
    for warning in first.warnings:
        complain(warning)


def _print_attributes(evaluation: "Evaluation") -> None:
    columns = (
        "attribute", "photos", "accuracy", "95 % interval", "top 5", "macro F1", "weighted F1",
        "calibration error", "coverage at 95 %",
    )  # fmt: skip
    rows = [
        (
            metrics.attribute,
            metrics.n,
            *_share(metrics.accuracy),
            f"{metrics.top5:.1%}",
            metrics.macro_f1,
            metrics.weighted_f1,
            metrics.calibration_error,
            f"{metrics.coverage_at_95:.1%}",
        )
        for metrics in evaluation.attributes
    ]
    print_table(columns, rows)


def _print_difference(first: "Evaluation", other: "Evaluation") -> None:
    from fashion_clip.evaluation import compare

    print(f"\n{first.model} is right more often than {other.model} by")
    rows = [
        (attribute, f"{100 * found.estimate:+.1f}", f"{100 * found.low:+.1f} to {100 * found.high:+.1f}")
        for attribute, found in compare(first, other).items()
    ]
    print_table(("attribute", "points", "95 % interval"), rows)


def _print_slices(evaluation: "Evaluation", names: Sequence[str]) -> None:
    rows = [
        (part.attribute, part.name, part.value, part.accuracy.n, *_share(part.accuracy))
        for part in evaluation.slices
        if part.name in names
    ]
    print_table(("attribute", "slice", "value", "photos", "accuracy", "95 % interval"), rows)


def _share(share: "Share") -> tuple[str, str]:
    return f"{share.estimate:.1%}", f"{share.low:.1%} to {share.high:.1%}"


def _write_report(folder: Path, evaluated: "Evaluated") -> Path:
    from fashion_clip.report import write_report

    return write_report(
        folder, evaluated.evaluations, evaluated.picture, evaluated.vectors(), evaluated.first_parents()
    )

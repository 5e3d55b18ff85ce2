"""`fashion-clip calibrate`: confidences that mean something, and labels that are accepted, from truth."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import fail, print_json, print_table
from cli.prefect_setup import prepare_prefect
from cli.relabel import preview_of, print_preview

if TYPE_CHECKING:
    from tasks.calibrating import Fitted


def calibrate(
    context: typer.Context,
    precision: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="The share of accepted labels that is to be right.")
    ] = 0.95,
    certainty: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="How surely, over the draw of the truth.")
    ] = 0.9,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what would change, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit the champion's confidences to truth that was drawn at random, and relabel with them.

    Makes a new model version: a temperature per attribute, and the confidence
    from which labels are accepted. Labels of linked attributes that both have
    truth enough are chosen together, so that each stands below its parent's.
    The promise holds for photos like those of the truth; where the catalogue
    drifts away from them, it is void until you calibrate again.
    """
    from tasks import calibrating
    from tasks.environment import catalogue
    from tasks.serving import load_model, require_served

    engine = catalogue()
    model = load_model(require_served(engine))
    fitted = calibrating.fit(engine, model, precision, certainty)
    if preview:
        found = preview_of(model, replace(model.labeller, calibration=fitted.calibration))
        if as_json:
            print_json({"calibration": _as_dict(fitted), "preview": found.as_dict()})
            return
        _print_calibration(fitted)
        print_preview(found)
        return
    version = calibrating.register(engine, model, fitted.calibration)
    _relabel(version, debug=bool(context.obj))
    if as_json:
        print_json({"calibration": _as_dict(fitted), "model_version": version})
        return
    _print_calibration(fitted)
    print(f"model {version} is served; what is not accepted: SELECT * FROM review_queue")


def _relabel(version: str, debug: bool) -> None:
    prepare_prefect(debug)
    from flows.relabel_catalog import relabel_catalog

    try:
        relabel_catalog(None, version)
    except KeyboardInterrupt:
        fail("interrupted; the old labels are served on, run it again", code=130)


def _as_dict(fitted: "Fitted") -> dict[str, Any]:
    calibration = fitted.calibration
    return {
        "precision": calibration.precision,
        "certainty": calibration.certainty,
        "truths": fitted.truths,
        "attributes": {name: vars(entry) for name, entry in calibration.attributes.items()},
    }


def _print_calibration(fitted: "Fitted") -> None:
    rows: list[tuple[Any, ...]] = []
    for name, truths in fitted.truths.items():
        found = fitted.calibration.attributes.get(name)
        if found is None:
            rows.append((name, truths, None, None, None, None, "too little truth"))
            continue
        errors = (found.error_before, found.error_after)
        accepted = "none" if found.threshold is None else f"{found.accepted:.1%}"
        rows.append((name, truths, found.temperature, *errors, found.threshold, accepted))
    columns = (
        "attribute", "truths", "temperature", "error before", "error after", "threshold", "accepted",
    )  # fmt: skip
    print_table(columns, rows)
    promise = fitted.calibration
    print(
        f"accepted labels are right in at least {promise.precision:.1%} of photos like those of the truth, "
        f"with {promise.certainty:.0%} certainty for each attribute"
    )

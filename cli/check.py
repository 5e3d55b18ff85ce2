"""`fashion-clip check`: is the champion as right as it was, by the truth that has come?"""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import fail, print_json, print_table
from cli.prefect_setup import prepare_prefect

if TYPE_CHECKING:
    from tasks.catalog.accuracy_drops import Drop
    from tasks.checking import Checked


def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count the truth that has come and tell whether accuracy has dropped.

    Every night does so too. Only truth drawn at random counts, a product
    once. Exit code 1 if an attribute has dropped.
    """
    prepare_prefect(bool(context.obj))
    from flows.check_accuracy import check_accuracy

    try:
        found = check_accuracy()
    except KeyboardInterrupt:
        fail("interrupted; nothing is counted twice, run it again", code=130)
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)
    if found.dropped:
        raise SystemExit(1)


def _print(found: "Checked") -> None:
    rows = [
        (one.attribute, one.status, one.n, one.accuracy, one.ci_low, one.ci_high, one.baseline, one.counted)
        for one in found.readings
    ]
    names = ("attribute", "status", "truths", "accuracy", "ci_low", "ci_high", "baseline", "new")
    print_table(names, rows)
    if not found.fresh:
        print(
            f"as of {found.checked_at:%Y-%m-%d %H:%M} UTC: a look so soon after counts nothing "
            "(FASHION_CLIP_CHECK_HOURS)"
        )
    if found.drop is not None:
        print(_asked(found.drop))
    elif found.dropped:
        print("a retraining has been the answer: fashion-clip models list")
    elif all(one.status == "waiting" for one in found.readings):
        print("too little truth for a baseline: fashion-clip export review.html --review")


def _asked(drop: "Drop") -> str:
    from tasks.settings import settings

    told = f"drop {drop.drop_id}, {drop.reason}"
    match settings().retrain:
        case "event":
            return f"{told}: retrain-model was asked for where Prefect has its deployment"
        case "inline":
            return f"{told}: a retraining was the answer; see fashion-clip models list"
        case _:
            return f"{told}: start a retraining with fashion-clip retrain --attribute {drop.attribute}"

"""`fashion-clip retrain`: the ladder now; a better model waits for a word, or is put in place."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import fail, one_line, print_json, print_table
from cli.prefect_setup import prepare_prefect
from fashion_clip.errors import UsageError

if TYPE_CHECKING:
    from tasks.retraining import Retrained

RUNGS = ("auto", "calibrate", "head", "lora", "full")


def retrain(
    context: typer.Context,
    rung: Annotated[
        str, typer.Option(help="auto, calibrate, head, lora or full; auto climbs until one is better.")
    ] = "auto",
    attribute: Annotated[
        str | None,
        typer.Option(help="That must gain; left out, the first one with truth in which labels are wrong."),
    ] = None,
    minimum_gain: Annotated[
        float, typer.Option(min=0, max=0.5, help="Least gain in accuracy: 0.01 is one point.")
    ] = 0.0,
    reason: Annotated[str, typer.Option(help="Kept beside the attempt.")] = "asked for by hand",
    yes: Annotated[
        bool, typer.Option("--yes", help="Put a better model in place without asking anybody.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make and judge; keep and promote nothing.")
    ] = False,
    now: Annotated[bool, typer.Option("--now", help="Also if the last attempt ended just now.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try to better the champion, rung by rung, and prove it on truth that taught it nothing.

    calibrate refits confidences, head learns on stored embeddings, lora and
    full fine-tune the towers. Half of the newer truth judges. What is better
    waits for: fashion-clip models approve VERSION.
    """
    if rung not in RUNGS:
        raise UsageError(f"rung {rung!r}: expected one of {', '.join(RUNGS)}")
    prepare_prefect(bool(context.obj))
    from flows.retrain_model import Approval, Rungs, retrain_model

    approval = Approval.AUTOMATIC if yes else Approval.AS_CONFIGURED
    try:
        found = retrain_model(Rungs(rung), reason, approval, minimum_gain, attribute, dry_run, now)
    except KeyboardInterrupt:
        fail("interrupted; the champion is served on, run it again to go on", code=130)
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)


def _print(found: "Retrained") -> None:
    from tasks.retraining import best_of

    for gate in found.gates:
        print(one_line(f"{gate.rung}: {gate.verdict.sentence}"))
    best = best_of(found.gates).verdict
    rows = [
        (check.attribute, check.n, check.champion, check.challenger, f"{100 * check.difference:+.1f}")
        for check in best.checks
        if check.label is None and check.attribute is not None and check.kind in ("gain", "attribute")
    ]
    if rows:
        print_table(("attribute", "products", "champion", "challenger", "points"), rows)
    match found.outcome:
        case "promoted":
            print(f"model {found.challenger} is served; back: fashion-clip models rollback")
        case "waiting":
            print(one_line(found.told))
        case "previewed":
            print("a preview: nothing was kept")
        case _:
            print(f"model {found.champion} is served on")

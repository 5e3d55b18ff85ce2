"""`fashion-clip train`: a model folder from labelled photos, and how much better than before it is."""

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import complain, fail, one_line, print_json, print_table

if TYPE_CHECKING:
    from tasks.training import Trained
    from tasks.training_request import Request


def train(
    dataset: Annotated[
        str,
        typer.Option(
            help="A folder of class folders, a folder with labels.csv or metadata.csv, FILE.parquet, "
            "hf://NAME:SPLIT or OWNER/NAME of the hub."
        ),
    ],
    output_model_path: Annotated[Path, typer.Option(help="The model folder to be made; it must not exist.")],
    model: Annotated[
        str | None, typer.Option(help="Hub name or folder of the CLIP checkpoint to begin with.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="head learns on embeddings, in minutes; lora and full fine-tune the towers first."),
    ] = "head",
    taxonomy: Annotated[
        str | None, typer.Option(help="Shipped taxonomy's name or TOML file that the data is labelled with.")
    ] = None,
    attribute: Annotated[
        str | None, typer.Option(help="Learn this one; class folders are then labels of it.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="At most so many; it stops earlier when validation gets no better.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photos that are told apart at once.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest; of lora about 2e-4, of full 1e-5.")
    ] = None,
    alpha: Annotated[
        str, typer.Option(help="The share of the new weights that is mixed into the old ones, 0 to 1.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of all that is drawn at random.")] = 0,
    limit: Annotated[
        int | None, typer.Option(help="Photos at most, drawn at random, the same ones each time.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Learn from labelled photos, and write a model folder that every --model takes.

    No catalogue is needed. A third of the photos is held out and tells at the
    end how often labels are right before and after; a part of the others
    chooses when to stop, how much of the new weights to take, and, if it is
    large enough, calibrates confidences. Photos of one product, or of nearly
    the same picture, stay together.

    The work is kept in OUTPUT.training until it is done: the same command
    goes on where a killed one was. With several GPUs: torchrun
    --nproc-per-node 4 -m cli.main train ...
    """
    from fashion_clip.machine import local_path
    from tasks.training_request import Request, alpha_of

    request = Request(
        dataset, local_path(output_model_path), model, method, taxonomy, attribute,
        epochs, batch_size, learning_rate, alpha_of(alpha), seed, limit,
    )  # fmt: skip
    trained = _trained(request)
    if trained is None:
        return
    if as_json:
        print_json(trained.as_dict())
    else:
        _print(trained)


def _trained(request: "Request") -> "Trained | None":
    """None in the processes of torchrun that only take part: the first one speaks for all."""
    from tasks.training import train
    from tasks.training_towers import is_main, take_part

    try:
        if is_main():
            with _lines_on_stderr() as log:
                return train(request, log)
        take_part(request)
    except KeyboardInterrupt:
        if not is_main():
            raise SystemExit(130) from None
        kept = f"what was done is kept in {str(request.work)!r}, and the same command goes on"
        fail(f"interrupted; {kept if request.work.exists() else 'nothing was written'}", code=130)
    return None


@contextmanager
def _lines_on_stderr() -> Iterator[logging.Logger]:
    """A log for people: training takes hours, often without a terminal that could show a bar."""
    log, handler = logging.getLogger(__name__), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield log
    finally:
        log.removeHandler(handler)


def _print(trained: "Trained") -> None:
    from fashion_clip.calibrating import LEAST_TRUTHS

    for warning in trained.warnings:
        complain(warning)
    counts = ", ".join(f"{photos} {part}" for part, photos in trained.photos.items())
    print(one_line(f"{trained.model} from {trained.parent}, method {trained.method}"))
    print(one_line(f"on {trained.data}: {counts}"))
    _print_gains(trained)
    if trained.facts.get("best_epoch"):
        took = f"epoch {trained.facts['best_epoch']} of {trained.facts['epochs']} was best"
        print(f"{took}, and {trained.facts['alpha']:.0%} of its change of the weights was taken")
    none = f"nothing, which takes {LEAST_TRUTHS} products of an attribute for validation"
    print(one_line(f"calibrated: {', '.join(trained.calibrated) or none}"))
    folder = shlex.quote(trained.folder)
    print(f"model folder: {trained.folder!r}; give it to tag, classify or evaluate with --model {folder}")


def _print_gains(trained: "Trained") -> None:
    rows = [
        (
            gain.attribute,
            gain.after.n,
            f"{gain.before.estimate:.1%}",
            f"{gain.after.estimate:.1%}",
            f"{100 * gain.difference.estimate:+.1f}",
            f"{100 * gain.difference.low:+.1f} to {100 * gain.difference.high:+.1f}",
        )
        for gain in trained.gains
    ]
    print_table(("attribute", "held out", "right before", "right after", "points", "95 % interval"), rows)

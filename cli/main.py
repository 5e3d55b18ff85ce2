"""The program `fashion-clip`: its commands, and how errors become one line and an exit code."""

import sys
from typing import Annotated

import typer

from cli import (
    calibrate,
    check,
    classify,
    db,
    demo,
    evaluate,
    export,
    models,
    quarantine,
    relabel,
    retrain,
    runs,
    serve,
    tag,
    train,
    truth,
)
from cli.output import fail
from fashion_clip.errors import FashionClipError, UsageError

app = typer.Typer(
    name="fashion-clip",
    help="Tag a fashion catalogue with CLIP: photos in, labels and similarity scores in SQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("classify")(classify.classify)
app.command("tag")(tag.tag)
app.command("relabel")(relabel.relabel)
app.command("calibrate")(calibrate.calibrate)
app.command("train")(train.train)
app.command("check")(check.check)
app.command("retrain")(retrain.retrain)
app.add_typer(models.app, name="models")
app.command("evaluate")(evaluate.evaluate)
app.command("runs")(runs.runs)
app.command("export")(export.export)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(truth.app, name="truth")
app.add_typer(db.app, name="db")
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and all of Prefect's log.")] = False,
) -> None:
    context.obj = debug


def main() -> None:
    """Runs the program. Exit codes: 0 done, 1 failed or photos remain, 2 wrong use, 130 interrupted."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except FashionClipError as error:
        if debug:
            raise
        fail(str(error), code=2 if isinstance(error, UsageError) else 1)
    except Exception as error:
        if debug:
            raise
        fail(f"{type(error).__name__}: {error}; --debug before the command shows where", code=1)


if __name__ == "__main__":
    main()

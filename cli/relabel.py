"""`fashion-clip relabel`: other labels for the whole catalogue, from stored embeddings."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import fail, one_line, print_json, print_table
from cli.prefect_setup import prepare_prefect

if TYPE_CHECKING:
    from fashion_clip.labeller import Labeller
    from tasks.catalog.relabel_preview import AttributePreview, Preview
    from tasks.serving import ServedModel


def relabel(
    context: typer.Context,
    taxonomy: Annotated[
        str | None,
        typer.Option(help="Shipped taxonomy's name or TOML file; FASHION_CLIP_TAXONOMY if left out."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what would change, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Label all photos for another taxonomy without opening one, and serve the labels when all are there."""
    from fashion_clip.taxonomy import load_taxonomy
    from tasks import environment
    from tasks.serving import require_served

    wanted = environment.taxonomy_name(taxonomy)
    version = load_taxonomy(wanted).version
    served = require_served(environment.catalogue())
    if served.taxonomy.version == version:
        if as_json:
            print_json({"served": version, "relabelled": False})
        else:
            print(f"taxonomy {served.taxonomy.name!r} ({version[:12]}) is what is served: nothing to do")
    elif preview:
        _preview(wanted, as_json)
    else:
        _relabel(wanted, as_json, debug=bool(context.obj))


def _relabel(taxonomy: str, as_json: bool, debug: bool) -> None:
    prepare_prefect(debug)
    from flows.relabel_catalog import relabel_catalog

    try:
        run = relabel_catalog(taxonomy)
    except KeyboardInterrupt:
        fail("interrupted; the old labels are served on, run it again to go on", code=130)
    if as_json:
        print_json(run.as_dict())
    else:
        took = f"run {run.run_id} {run.status} in {run.seconds:.1f} s"
        print(f"{took}: {run.tagged} pictures relabelled; the new labels are served")


def _preview(taxonomy: str, as_json: bool) -> None:
    from fashion_clip.taxonomy import load_taxonomy
    from tasks import environment
    from tasks.serving import labeller_for, load_model, require_served

    model = load_model(require_served(environment.catalogue()))
    wanted = load_taxonomy(taxonomy)
    found = preview_of(model, labeller_for(model.model, wanted))
    if as_json:
        print_json(found.as_dict())
    else:
        print_preview(found)


def preview_of(model: "ServedModel", labeller: "Labeller") -> "Preview":
    """What another labeller would change, found with a progress bar."""
    from tasks import environment
    from tasks.catalog import relabelling
    from tasks.catalog.relabel_preview import preview
    from tasks.progress import shown

    engine = environment.catalogue()
    with shown(logging.getLogger(__name__)) as progress:
        progress.started(relabelling.embedded(engine, model.label_set))
        return preview(engine, model.label_set, labeller, progress.advanced)


def print_preview(found: "Preview") -> None:
    """Totals, then each attribute's most frequent changes."""
    _print_totals(found)
    for attribute in found.attributes:
        _print_changes(attribute)


def _print_totals(found: "Preview") -> None:
    print(f"{found.pictures} pictures would be relabelled; nothing has been written")
    rows = [
        (one.attribute, one.pictures, one.changed, *map(_share_of(one.pictures), _parts(one)))
        for one in found.attributes
    ]
    print_table(("attribute", "pictures", "changed", "share", "accepted now", "accepted then"), rows)
    _print_names("new", found.new)
    _print_names("no longer labelled", found.dropped)


def _parts(one: "AttributePreview") -> tuple[int, int, int]:
    return one.changed, one.accepted, one.accepted_then


def _share_of(pictures: int) -> Callable[[int], str]:
    return lambda part: f"{part / max(pictures, 1):.1%}"


def _print_names(what: str, attributes: Sequence[str]) -> None:
    if attributes:
        print(one_line(f"{what}: {', '.join(attributes)}"))


def _print_changes(attribute: "AttributePreview") -> None:
    if attribute.changes:
        print()
        print(one_line(f"{attribute.attribute}, the most frequent changes:"))
        rows = [(one.before, one.after, one.pictures, one.example_uri or "") for one in attribute.changes]
        print_table(("from", "to", "pictures", "for example"), rows)

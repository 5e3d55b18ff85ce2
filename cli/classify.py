"""`fashion-clip classify`: one-off use, without a database and without Prefect."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import complain, print_json, print_table
from fashion_clip.errors import ImageError, UsageError
from fashion_clip.taxonomy import Taxonomy, attribute_from_labels, load_taxonomy

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder
    from fashion_clip.scoring import Head


def classify(
    image_path: Annotated[list[Path], typer.Option(help="A photo; give the option again for more.")],
    labels: Annotated[str | None, typer.Option(help='Labels with commas: "Tops, Bottoms, Shoes".')] = None,
    taxonomy: Annotated[
        str | None, typer.Option(help="Instead of labels: a shipped taxonomy's name, or a TOML file.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub name or folder of a CLIP checkpoint.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many labels to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which labels fit a photo best, with cosine similarity and softmax probability."""
    candidates = _candidates(labels, taxonomy)
    for path in image_path:
        if not path.is_file():
            raise UsageError(f"no image file {str(path)!r}; give the path of a photo")
    from tasks.serving import load_chosen_model

    found = load_chosen_model(model)
    encoder, heads = found.encoder, found.labeller(candidates).heads
    results = []
    for path, outcome in _outcomes(encoder, heads, image_path, top):
        results.append({"image": str(path), **outcome})
        if not as_json:
            _print(path, outcome)
    if as_json:
        print_json(results)
    if any("error" in result for result in results):
        raise SystemExit(1)


def _candidates(labels: str | None, taxonomy: str | None) -> Taxonomy:
    if (labels is None) == (taxonomy is None):
        raise UsageError('give either --labels "Tops, Bottoms, Shoes" or --taxonomy products')
    if labels is not None:
        return Taxonomy(name="command line", attributes=(attribute_from_labels(labels),))
    assert taxonomy is not None
    return load_taxonomy(taxonomy)


def _outcomes(
    encoder: "ClipEncoder", heads: Sequence["Head"], paths: Sequence[Path], top: int
) -> Iterator[tuple[Path, dict[str, Any]]]:
    from fashion_clip.decode import Limits
    from fashion_clip.preprocessing import photo_pixels
    from fashion_clip.scoring import top_labels

    for path in paths:
        try:
            pixels = photo_pixels(path.read_bytes(), encoder.preprocessing, Limits())
        except ImageError as error:
            yield path, {"error": str(error)}
            continue
        except OSError as error:
            yield path, {"error": f"unreadable: {error.strerror}"}
            continue
        embedding = encoder.encode_pixels(pixels[None])
        ranked = {head.attribute: _ranked(head, top_labels(head, embedding, top)) for head in heads}
        yield path, {"labels": ranked}


def _ranked(head: "Head", best: Any) -> list[dict[str, Any]]:
    return [
        {
            "label": head.labels[index],
            "similarity": round(float(similarity), 4),
            "probability": round(float(probability), 4),
        }
        for index, similarity, probability in zip(
            best.index[0], best.similarity[0], best.confidence[0], strict=True
        )
    ]


def _print(path: Path, outcome: dict[str, Any]) -> None:
    if "error" in outcome:
        complain(f"{str(path)!r}: {outcome['error']}")
        return
    rows = [
        (attribute, row["label"], row["similarity"], f"{row['probability']:.1%}")
        for attribute, ranked in outcome["labels"].items()
        for row in ranked
    ]
    print(repr(str(path)))
    print_table(("attribute", "label", "similarity", "probability"), rows)

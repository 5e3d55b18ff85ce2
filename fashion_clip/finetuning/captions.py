"""What may be said of a photo: its labels' prompts, several labels joined, or the product's name.

Captions in the words of the prompts are what makes contrastive fine-tuning serve zero-shot labelling: Goyal
et al., "Finetune Like You Pretrain" (FLYP), CVPR 2023.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fashion_clip.finetuning.settings import TrainingPhotos
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.taxonomy import Attribute, Label, Taxonomy

ANY = -3  # as the label that a caption demands: whichever
# Of the captions of photos with a name, and of the others of photos with two known labels or more. Names keep
# the words that no label has; joined labels are what a search for "a black t-shirt" needs.
NAME_SHARE = 0.25
JOINED_SHARE = 0.25
MOST_JOINED = 3
_MUTE = Label("-", "-")
_ARTICLE = re.compile(r"^(a pair of|an|a|the) ")


@dataclass(frozen=True, eq=False)
class Sayings:
    """What is true of n photos and what of it may be said; the A attributes' columns, then the name's.

    attributes: with the texts by which their labels are called; those that may not be called have a dash.
    truth: int64 (n, A + 1), label numbers, NONE_OF_THEM or NOT_KNOWN; last a number for each name,
        NONE_OF_THEM without one.
    sayable: bool (n, A + 1).
    """

    attributes: tuple[Attribute, ...]
    truth: npt.NDArray[np.int64]
    sayable: npt.NDArray[np.bool_]
    names: tuple[str, ...]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The photos of which anything may be said, in ascending order."""
        return np.flatnonzero(self.sayable.any(axis=1))


@dataclass(frozen=True)
class Caption:
    """A text, and for each of the A + 1 columns the label that a photo of which it is true has, or ANY."""

    text: str
    demands: tuple[int, ...]


def find_sayings(
    taxonomy: Taxonomy, photos: TrainingPhotos, kept_out: Mapping[str, frozenset[str]]
) -> Sayings:
    """What the truth and the names of photos allow to say without uttering a label that is kept out.

    Its words come in other ways than its own prompts too: in a label of another attribute ("a fashion
    accessory, such as a bag"), in a product's name. Such a label is said in fewer words, or not at all where
    they are its own; such a name is not said, nor any of a photo of a kept-out label.
    """
    forbidden = _forbidden_words(taxonomy, kept_out)
    truth = [photos.column(attribute.name) for attribute in taxonomy.attributes]
    attributes, sayable = [], []
    named = np.array([bool(name) and not _utters(forbidden, name) for name in photos.names], dtype=bool)
    for attribute, column in zip(taxonomy.attributes, truth, strict=True):
        out = np.array([label.name in kept_out.get(attribute.name, ()) for label in attribute.labels])
        spoken = [_spoken(attribute, label, forbidden) for label in attribute.labels]
        may_be_said = np.array([label is not None for label in spoken]) & ~out
        attributes.append(replace(attribute, labels=tuple(label or _MUTE for label in spoken)))
        sayable.append((column >= 0) & may_be_said[np.maximum(column, 0)])
        named &= (column < 0) | ~out[np.maximum(column, 0)]
    return Sayings(
        tuple(attributes),
        np.stack([*truth, _name_numbers(photos.names)], axis=1),
        np.stack([*sayable, named], axis=1),
        photos.names,
    )


def draw_caption(sayings: Sayings, row: int, generator: np.random.Generator) -> Caption:
    """One of the captions of a photo of `sayings.rows`."""
    columns = np.flatnonzero(sayings.sayable[row])
    name = len(sayings.attributes)
    labels = columns[columns != name]
    if columns[-1] == name and (not len(labels) or generator.random() < NAME_SHARE):
        return Caption(sayings.names[row], _demands(sayings, row, [name]))
    if len(labels) > 1 and generator.random() < JOINED_SHARE:
        joined = generator.permutation(labels)[: generator.integers(2, MOST_JOINED + 1)].tolist()
        texts = [_label(sayings, row, column).text for column in joined]
        return Caption(", ".join(texts), _demands(sayings, row, joined))
    column = int(generator.choice(labels))
    prompts = sayings.attributes[column].prompts(_label(sayings, row, column))
    return Caption(prompts[generator.integers(len(prompts))], _demands(sayings, row, [column]))


def _label(sayings: Sayings, row: int, column: int) -> Label:
    return sayings.attributes[column].labels[int(sayings.truth[row, column])]


def _demands(sayings: Sayings, row: int, columns: list[int]) -> tuple[int, ...]:
    demands = [ANY] * sayings.truth.shape[1]
    for column in columns:
        demands[column] = int(sayings.truth[row, column])
    return tuple(demands)


def _name_numbers(names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(filter(None, names)))}
    return np.array([numbers.get(name, NONE_OF_THEM) for name in names], dtype=np.int64)


def _forbidden_words(taxonomy: Taxonomy, kept_out: Mapping[str, frozenset[str]]) -> re.Pattern[str] | None:
    """What a text must not hold: names of kept-out labels and what their texts begin with, in any number."""
    phrases = {
        _ARTICLE.sub("", words.casefold().split(",")[0])
        for attribute in taxonomy.attributes
        for label in attribute.labels
        if label.name in kept_out.get(attribute.name, frozenset())
        for words in (label.name, label.text)
    }
    stems = {re.escape(phrase.removesuffix(end)) for phrase in phrases for end in ("", "s", "es")}
    return re.compile(rf"\b({'|'.join(sorted(stems))})(s|es)?\b") if stems else None


def _utters(forbidden: re.Pattern[str] | None, text: str) -> bool:
    return forbidden is not None and forbidden.search(text.casefold()) is not None


def _spoken(attribute: Attribute, label: Label, forbidden: re.Pattern[str] | None) -> Label | None:
    """The label with the first of its text, the beginning of that, and its name that may be said."""
    for text in (label.text, label.text.split(",")[0], label.name):
        spoken = replace(label, text=text)
        if not any(_utters(forbidden, said) for said in (text, *attribute.prompts(spoken))):
            return spoken
    return None

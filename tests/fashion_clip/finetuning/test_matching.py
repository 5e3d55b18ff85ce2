"""Truth says which captions of a batch belong to which photos."""

import numpy as np

from fashion_clip.finetuning.captions import ANY, Caption
from fashion_clip.finetuning.matching import match_captions
from fashion_clip.finetuning.settings import NOT_KNOWN
from fashion_clip.predictions import NONE_OF_THEM


def test_a_caption_belongs_to_all_of_whom_it_is_true() -> None:
    """Columns: kind, colour, name."""
    truth = np.array([[0, 0, 7], [0, 1, -1], [1, 0, -1], [NOT_KNOWN, 1, -1], [NONE_OF_THEM, NOT_KNOWN, 7]])
    captions = [
        Caption("clothing", (0, ANY, ANY)),
        Caption("white clothing", (0, 1, ANY)),
        Caption("black", (ANY, 0, ANY)),
        Caption("white", (ANY, 1, ANY)),
        Caption("a name", (ANY, ANY, 7)),
    ]
    match = match_captions(captions, truth)
    texts = [captions[place].text for place in match.first]
    assert texts == sorted(texts)
    positive = {text: np.flatnonzero(match.positive[:, place]).tolist() for place, text in enumerate(texts)}
    assert positive == {
        "a name": [0, 4],
        "black": [0, 2],
        "clothing": [0, 1],
        "white": [1, 3],
        "white clothing": [1],
    }
    assert match.kinds.tolist() == [2, 1, 0, 1, 3]  # a name, two colours, a kind, two things joined
    unknown = {text: np.flatnonzero(~match.counted[:, place]).tolist() for place, text in enumerate(texts)}
    assert unknown == {
        "a name": [],
        "black": [4],
        "clothing": [3],
        "white": [4],
        "white clothing": [3],  # of photo 4 the kind is known, and another
    }


def test_one_text_is_one_column_even_with_two_meanings() -> None:
    truth = np.array([[0, 1], [1, 0], [2, 2], [2, NOT_KNOWN]])
    captions = [
        Caption("free", (0, ANY)),
        Caption("free", (ANY, 0)),
        Caption("x", (2, ANY)),
        Caption("x", (2, ANY)),
    ]
    match = match_captions(captions, truth)
    assert match.first.tolist() == [0, 2]
    assert match.positive.tolist() == [[True, False], [True, False], [False, True], [False, True]]
    assert match.counted.tolist() == [[True, True], [True, True], [True, True], [False, True]]

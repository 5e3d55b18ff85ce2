"""Scores become rows in the order of their key, in units of a ten-thousandth."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fashion_clip.scoring import Decision, TopLabels
from tasks.catalog.label_rows import label_rows
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import CANDIDATES, SCORE_SCALE, labels

COLUMNS = list(labels.columns.keys())
# Attribute ids need not be in the order of the names.
IDS = {"kind": 9, "colour": 4}
LABEL_IDS = {"kind": tuple(range(100, 110)), "colour": tuple(range(200, 210))}
LABEL_SET = cast(LabelSet, SimpleNamespace(label_set_id=3, attribute_ids=IDS, label_ids=LABEL_IDS))


@st.composite
def scores(draw: st.DrawFn, count: int) -> TopLabels:
    shape = (count, draw(st.integers(1, CANDIDATES)))
    index = draw(arrays(np.int32, shape, elements=st.integers(0, 9)))
    similarity = draw(arrays(np.float32, shape, elements=st.floats(-1, 1, width=32)))
    confidence = draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    decision = draw(arrays(np.int8, count, elements=st.sampled_from(list(map(int, Decision)))))
    return TopLabels(index, similarity, confidence, decision)


@settings(deadline=None)
@given(st.data(), st.lists(st.integers(1, 10**9), max_size=7, unique=True))
def test_every_score_stands_in_its_column(data: st.DataObject, content_ids: list[int]) -> None:
    top = {name: data.draw(scores(len(content_ids))) for name in IDS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.catalog.label_rows.CONTENTS_AT_ONCE", 3)
        rows = list(label_rows(LABEL_SET, 7, content_ids, top))
    keys = [row[:3] for row in rows]
    assert keys == sorted((3, content_id, IDS[name]) for content_id in content_ids for name in IDS)
    found = {row[1:3]: dict(zip(COLUMNS, row, strict=True)) for row in rows}
    for name, best in top.items():
        for i, content_id in enumerate(content_ids):
            row = found[content_id, IDS[name]]
            assert (row["shard_id"], row["decision"]) == (7, best.decision[i])
            for rank in range(1, CANDIDATES + 1):
                values = [row[f"{part}_{rank}"] for part in ("label", "similarity", "confidence")]
                if rank > best.index.shape[1]:
                    assert values == [None, None, None]
                    continue
                label, similarity, confidence = values
                assert label == LABEL_IDS[name][best.index[i, rank - 1]]
                assert type(similarity) is type(confidence) is int
                assert abs(similarity / SCORE_SCALE - best.similarity[i, rank - 1]) <= 0.000_051
                assert abs(confidence / SCORE_SCALE - best.confidence[i, rank - 1]) <= 0.000_051

"""Names from outside are drawn as they are: no formula, no second line, nothing hidden, not too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from fashion_clip.plots.style import percent, plain, shown, to_png


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("T-shirts", "T-shirts"),
        ("$x$", r"\$x\$"),
        ("_hidden", " _hidden"),
        ("two\n lines", "two lines"),
        ("\x00\u202e", "??"),
        ("w" * 31, "w" * 29 + "…"),
        ("été ✓ 上衣", "été ✓ 上衣"),
    ],
)
def test_names(name: str, told: str) -> None:
    assert plain(name) == told


@given(st.text(), st.integers(1, 40))
def test_any_name_is_one_printable_line_of_limited_length(name: str, longest: int) -> None:
    told = shown(name, longest)
    assert told.isprintable()
    assert len(told) <= longest
    assert told == shown(told, longest)


@pytest.mark.parametrize("name", ["$x$", "$\\frac{$", "a$b$c", "\\$x$", "{}%^_"])
def test_dollars_are_no_formula(name: str) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, plain(name))
    as_it_is = Figure()
    as_it_is.text(0.5, 0.5, name, parse_math=False)
    assert to_png(figure) == to_png(as_it_is)


@pytest.mark.parametrize(
    ("share", "told"),
    [(0, "0 %"), (0.004, "0.4 %"), (0.0994, "9.9 %"), (0.0996, "10 %"), (0.5, "50 %"), (1, "100 %")],
)
def test_percentages(share: float, told: str) -> None:
    assert percent(share) == told

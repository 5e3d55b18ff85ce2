"""What all pictures share: colours, figures without pyplot's global state, names from outside, PNG."""

import warnings
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart (jfly.uni-koeln.de/color).
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PINK, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#F0E442", "#000000"
GREY, LIGHT = "#767676", "#D9D9D9"

DPI = 100
LONGEST = 30  # characters of a name


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def quiet(axes: Axes) -> None:
    """Takes away what tells nothing: the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(color=LIGHT, linewidth=0.6)


def shown(name: str, longest: int = LONGEST) -> str:
    """A name on one line, cut with an ellipsis; what cannot be seen is a question mark."""
    line = "".join(character if character.isprintable() else "?" for character in " ".join(name.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def plain(name: str, longest: int = LONGEST) -> str:
    """`shown`, such that matplotlib takes it for neither a formula (dollars) nor a hidden entry (_first)."""
    line = shown(name, longest).replace("$", r"\$")
    return " " + line if line.startswith("_") else line


def percent(share: float) -> str:
    """A share as people read it: two digits where they tell something, such as 0.4 %."""
    return (
        f"{share:.1%}".replace("%", " %") if share < 0.0995 and share else f"{share:.0%}".replace("%", " %")
    )


def to_png(figure: Figure) -> bytes:
    """The picture, with its margins cut."""
    out = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box
        figure.savefig(out, format="png", bbox_inches="tight", pad_inches=0.15)
    return out.getvalue()

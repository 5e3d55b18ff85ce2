"""Three fixed photos, embedded at the start of a run to see that an encoder is what it was.

Collages of Fashion-MNIST (MIT), made by `scripts/make_reference_photos.py`.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
_NAMES = ("large.jpg", "turned.jpg", "small.png")


def load() -> dict[str, bytes]:
    """File name -> bytes."""
    return {name: (FOLDER / name).read_bytes() for name in _NAMES}

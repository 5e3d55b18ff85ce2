"""What several test modules share."""

import os

os.environ["HF_HUB_OFFLINE"] = (
    "1"  # no test reaches for the network; read when huggingface_hub is first imported
)
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # nor does a server that they start

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder


@pytest.fixture(scope="session")
def demo_encoder() -> "ClipEncoder":
    """The embedded demo model as transformers would run it."""
    from fashion_clip.demo import MODEL_DIR
    from fashion_clip.encoder import load_encoder

    return load_encoder(str(MODEL_DIR), "cpu", "torch", "float32", "exact")

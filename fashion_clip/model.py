"""A whole model: a checkpoint, and what was learned on top of it."""

from dataclasses import dataclass
from typing import Literal

from fashion_clip.calibration import Calibration
from fashion_clip.encoder import GENERATION, ClipEncoder, load_encoder
from fashion_clip.head_file import LearnedHeads
from fashion_clip.labeller import Labeller
from fashion_clip.model_folder import read_calibration, read_learned
from fashion_clip.preprocessing import Decode
from fashion_clip.runtimes import Precision, Runtime
from fashion_clip.scoring import zero_shot_heads
from fashion_clip.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class Model:
    """learned, calibration: None for a plain checkpoint, whose labels are zero-shot and uncalibrated."""

    encoder: ClipEncoder
    learned: LearnedHeads | None = None
    calibration: Calibration | None = None

    def labeller(self, taxonomy: Taxonomy) -> Labeller:
        """What makes labels of the encoder's vectors. Encodes the taxonomy's prompts."""
        prompts = zero_shot_heads(self.encoder, taxonomy)
        heads = self.learned.applied(prompts) if self.learned else prompts
        return Labeller(taxonomy, heads, self.calibration)


def load_model(
    name: str,
    runtime: Runtime = "auto",
    precision: Precision | Literal["auto"] = "auto",
    decode: Decode = "scaled",
    generation: int = GENERATION,
) -> Model:
    """Load a folder or hub model, with the heads and the calibration that a folder of this program has.

    Raises CheckpointError and UsageError as load_encoder does, and CheckpointError for heads or a calibration
    that cannot be used, or that are not what the folder's description tells.
    """
    encoder = load_encoder(name, None, runtime, precision, decode, generation)
    learned = read_learned(encoder.folder, encoder.dimension)
    return Model(encoder, learned, read_calibration(encoder.folder))

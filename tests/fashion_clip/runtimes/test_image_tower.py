"""What every runtime must give, in every precision: transformers' vectors."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fashion_clip.checkpoint import load_checkpoint
from fashion_clip.decode import Limits
from fashion_clip.demo import MODEL_DIR, PHOTOS_DIR
from fashion_clip.encoder import ClipEncoder, load_encoder
from fashion_clip.errors import UsageError
from fashion_clip.preprocessing import photo_pixels
from fashion_clip.runtimes import PRECISIONS, Runtime, best_precision
from fashion_clip.runtimes.openvino_tower import converted
from fashion_clip.runtimes.torch_tower import TorchTower

RUNTIMES: tuple[Runtime, ...] = ("torch", "openvino")
LEAST_COSINE = {"float32": 0.99999, "bfloat16": 0.9995}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo model, beside which converted ones may be kept."""
    folder = tmp_path_factory.mktemp("model") / "demo"
    return Path(shutil.copytree(MODEL_DIR, folder, ignore=shutil.ignore_patterns("openvino")))


@pytest.fixture(scope="module", params=[(r, p) for r in RUNTIMES for p in PRECISIONS], ids="-".join)
def encoder(request: pytest.FixtureRequest, model_dir: Path) -> ClipEncoder:
    runtime, precision = request.param
    return load_encoder(str(model_dir), "cpu", runtime, precision, "exact")


@pytest.fixture(scope="module")
def pixels(demo_encoder: ClipEncoder) -> npt.NDArray[np.uint8]:
    photos = sorted(PHOTOS_DIR.iterdir())[:70]
    made = [photo_pixels(path.read_bytes(), demo_encoder.preprocessing, Limits()) for path in photos]
    extremes = [np.full_like(made[0], level) for level in (0, 255)]
    noise = np.random.default_rng(0).integers(0, 256, made[0].shape, dtype=np.uint8)
    return np.stack([*made, *extremes, noise])


def test_vectors_are_those_of_transformers(
    encoder: ClipEncoder, demo_encoder: ClipEncoder, pixels: npt.NDArray[np.uint8]
) -> None:
    vectors = encoder.encode_pixels(pixels)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(pixels), encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = np.einsum("nd,nd->n", vectors, demo_encoder.encode_pixels(pixels))
    assert cosines.min() >= LEAST_COSINE[encoder.precision]


def test_batches_do_not_show(encoder: ClipEncoder, pixels: npt.NDArray[np.uint8]) -> None:
    together = encoder.encode_pixels(pixels)
    for count in (1, 2, 15, 16, 17, encoder.batch_size + 1):
        some = encoder.encode_pixels(pixels[:count])
        cosines = np.einsum("nd,nd->n", some, together[:count])
        assert cosines.min() >= LEAST_COSINE[encoder.precision]


@pytest.mark.filterwarnings("error")
def test_pixels_may_be_read_only_and_stay_as_they_are(
    encoder: ClipEncoder, pixels: npt.NDArray[np.uint8]
) -> None:
    own = pixels.copy()
    vectors = encoder.encode_pixels(own)
    np.testing.assert_array_equal(own, pixels)
    own.flags.writeable = False
    np.testing.assert_array_equal(encoder.encode_pixels(own), vectors)


def test_threads_agree(encoder: ClipEncoder, pixels: npt.NDArray[np.uint8]) -> None:
    expected = encoder.encode_pixels(pixels)
    with ThreadPoolExecutor(6) as pool:
        for vectors in pool.map(encoder.encode_pixels, [pixels] * 12):
            assert np.einsum("nd,nd->n", vectors, expected).min() >= LEAST_COSINE[encoder.precision]


def test_the_identity_is_of_the_precision_and_not_of_the_runtime(model_dir: Path) -> None:
    identities = {
        (runtime, precision): load_encoder(str(model_dir), "cpu", runtime, precision, "exact").identity
        for runtime in RUNTIMES
        for precision in PRECISIONS
    }
    for precision in PRECISIONS:
        assert identities["torch", precision] == identities["openvino", precision]
    assert identities["torch", "float32"] != identities["torch", "bfloat16"]


def test_the_identity_is_of_the_way_photos_are_decoded(model_dir: Path) -> None:
    exact = load_encoder(str(model_dir), "cpu", "torch", "float32", "exact")
    scaled = load_encoder(str(model_dir), "cpu", "torch", "float32", "scaled")
    assert exact.identity != scaled.identity
    assert exact.text_identity == scaled.text_identity
    assert (exact.preprocessing.scaled, scaled.preprocessing.scaled) == (False, True)


def test_auto_is_openvino_on_a_cpu_in_its_best_precision(model_dir: Path) -> None:
    encoder = load_encoder(str(model_dir), "cpu")
    assert type(encoder._tower).__name__ == "OpenVinoTower"
    assert encoder.precision == best_precision("cpu")
    assert encoder.decode == "scaled"


def test_openvino_on_another_device_is_refused(model_dir: Path) -> None:
    with pytest.raises(UsageError, match="runtime 'openvino' runs on the CPU, not on 'meta'"):
        from fashion_clip.runtimes import open_tower

        open_tower(load_checkpoint(str(model_dir)), "0" * 64, "openvino", "float32", "meta")


def test_torch_keeps_the_checkpoints_own_weights(model_dir: Path) -> None:
    checkpoint = load_checkpoint(str(model_dir))
    TorchTower(checkpoint, "bfloat16", "cpu")
    assert {str(weight.dtype) for weight in checkpoint.model.parameters()} == {"torch.float32"}


def copy_without_openvino(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL_DIR, tmp_path / "model", ignore=shutil.ignore_patterns("openvino")))


def kept_beside(model: Path) -> list[str]:
    return sorted(path.name for path in (model / "openvino").iterdir() if path.is_dir())


def test_the_converted_model_is_made_once(tmp_path: Path) -> None:
    model = copy_without_openvino(tmp_path)
    checkpoint = load_checkpoint(str(model))
    file = converted(checkpoint, "a" * 64)
    written = file.stat().st_mtime_ns
    assert converted(checkpoint, "a" * 64) == file
    assert file.stat().st_mtime_ns == written
    converted(checkpoint, "b" * 64)
    assert [name[0] for name in kept_beside(model)] == ["a", "b"]


def test_processes_that_start_together_make_it_once(tmp_path: Path) -> None:
    model = copy_without_openvino(tmp_path)
    program = (
        "import sys; from fashion_clip.runtimes import openvino_tower as tower\n"
        "from fashion_clip.checkpoint import load_checkpoint\n"
        "convert = tower._convert\n"
        "def told(checkpoint):\n"
        "    print('made', flush=True)\n"
        "    return convert(checkpoint)\n"
        "tower._convert = told\n"
        "assert tower.converted(load_checkpoint(sys.argv[1]), 'c' * 64).is_file()\n"
    )
    command = [sys.executable, "-c", program, str(model)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "".join(said).split() == ["made"]


def test_threads_make_several_at_once(tmp_path: Path) -> None:
    """torch's tracer alone spoils most of these."""
    checkpoint = load_checkpoint(str(copy_without_openvino(tmp_path)))
    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda name: converted(checkpoint, name * 64), "cdef"))
    assert len({model.with_suffix(".bin").read_bytes() for model in made}) == 1


def test_what_a_killed_process_left_is_made_anew(tmp_path: Path) -> None:
    model = copy_without_openvino(tmp_path)
    unfinished = model / "openvino" / f"{'d' * 32}-1.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "model.xml").write_text("half of it")
    checkpoint = load_checkpoint(str(model))
    assert "half of it" not in converted(checkpoint, "d" * 64).read_text()
    assert not unfinished.exists()


def test_a_folder_whose_place_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = copy_without_openvino(tmp_path)
    (model / "openvino").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = converted(load_checkpoint(str(model)), "e" * 64)
    assert file.is_relative_to(tmp_path / "cache" / "fashion-clip-flows")


def test_nothing_is_told_to_anybody(tmp_path: Path) -> None:
    """OpenVINO's import leaves an id in the home folder, with which its use would be reported."""
    program = (
        "import sys; from fashion_clip.encoder import load_encoder\n"
        "load_encoder(sys.argv[1], 'cpu', 'openvino')\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
    )
    command = [sys.executable, "-c", program, str(copy_without_openvino(tmp_path))]
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(command, check=True, timeout=120, env=os.environ | {"HOME": str(home)})
    assert not (home / "intel").exists()

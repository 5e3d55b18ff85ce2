"""Pixels are those of transformers' own processor, bit for bit; settings it cannot follow are refused."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fashion_clip import preprocessing
from fashion_clip.decode import Limits, Picture
from fashion_clip.errors import CheckpointError
from fashion_clip.preprocessing import load_preprocessing, parse_preprocessing, photo_pixels

CONFIGS: list[dict[str, Any]] = [
    {},  # every default
    {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32, "resample": 3},
    {"size": {"shortest_edge": 33}, "crop_size": {"height": 32, "width": 31}},
    {"size": {"shortest_edge": 20}, "crop_size": {"height": 45, "width": 16}, "do_rescale": False},
    {"size": {"height": 31, "width": 47}, "do_center_crop": False, "resample": 2},
    {"size": [20, 31], "crop_size": [25, 26], "do_normalize": False, "resample": 1},
    {"do_resize": False, "crop_size": 50, "rescale_factor": 0.01, "image_mean": [0.5, 0.4, 0.1]},
]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


def assert_same_pixels(config: dict[str, Any], image: Image.Image) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    theirs = CLIPImageProcessorPil(**config)(image, return_tensors="np")["pixel_values"][0]
    ours = parse_preprocessing(config, "here")
    pixels = ours.pixels(Picture.whole(image))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*ours.output_size, 3)
    levels = ours.levels()
    values = np.stack([levels[channel][pixels[..., channel]] for channel in range(3)])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, theirs)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 500), (500, 1), (37, 501), (32, 32), (33, 32), (224, 225), (60, 80)]
)
def test_pixels_equal_transformers(config: dict[str, Any], size: tuple[int, int]) -> None:
    assert_same_pixels(config, noise(*size))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CONFIGS),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(1, 70),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(0, 99),
)
def test_pixels_equal_transformers_for_any_size(
    config: dict[str, Any], size: tuple[int, int], edge: int, crop: tuple[int, int], seed: int
) -> None:
    sizes = {"size": {"shortest_edge": edge}, "crop_size": {"height": crop[0], "width": crop[1]}}
    assert_same_pixels(config | sizes | {"do_center_crop": True}, noise(*size, seed))


@pytest.mark.parametrize("config", [{}, {"size": 10, "crop_size": {"height": 15, "width": 14}}])
@pytest.mark.parametrize("size", [(3, 1200), (1200, 3), (1, 500), (400, 8)])
def test_a_very_long_picture_is_not_resized_whole(
    config: dict[str, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = parse_preprocessing(config, "here")
    whole = ours.pixels(Picture.whole(noise(*size))).astype(int)
    monkeypatch.setattr(preprocessing, "_MAX_RESIZED_PIXELS", 1)
    centre = ours.pixels(Picture.whole(noise(*size))).astype(int)
    assert np.abs(centre - whole).mean() < 1.5  # levels of 256; another place differs by 60


def test_a_very_long_picture_costs_no_memory() -> None:
    strip = noise(2, 1_000_000)  # resized whole, it would take 100 GB
    assert parse_preprocessing({}, "here").pixels(Picture.whole(strip)).shape == (224, 224, 3)


@pytest.mark.parametrize(
    "config",
    [
        {"image_processor_type": "SiglipImageProcessor"},
        {"do_pad": True},
        {"default_to_square": True, "size": 224},
        {"do_center_crop": False},
        {"do_center_crop": False, "do_resize": False},
        {"size": {"shortest_edge": 224, "longest_edge": 300}},
        {"size": {"max_height": 224, "max_width": 224}},
        {"size": "224"},
        {"size": 0},
        {"size": 22.5},
        {"crop_size": {"height": 3}},
        {"crop_size": [1, 2, 3]},
        {"resample": 99},
        {"image_mean": [0.5]},
        {"image_std": "abc"},
        {"rescale_factor": "much"},
    ],
)
def test_settings_that_are_not_supported_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"^'/models/x'"):
        parse_preprocessing(config, "'/models/x'")


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def test_the_file_that_transformers_prefers_wins(tmp_path: Path) -> None:
    write(tmp_path, "preprocessor_config.json", {"size": 30, "crop_size": 30})
    assert load_preprocessing(tmp_path).output_size == (30, 30)
    write(tmp_path, "processor_config.json", {"processor_class": "CLIPProcessor"})
    assert load_preprocessing(tmp_path).output_size == (30, 30)
    write(tmp_path, "processor_config.json", {"image_processor": {"size": 40, "crop_size": 40}})
    assert load_preprocessing(tmp_path).output_size == (40, 40)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", "null"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        load_preprocessing(tmp_path)


def test_a_folder_without_an_image_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no image processor"):
        load_preprocessing(tmp_path)


def test_the_settings_are_json() -> None:
    old = parse_preprocessing({"size": 224, "crop_size": 224}, "here").as_dict()
    new = parse_preprocessing({"size": {"shortest_edge": 224}, "crop_size": [224, 224]}, "here").as_dict()
    assert json.dumps(old) == json.dumps(new)
    assert json.dumps(parse_preprocessing({"size": 225}, "here").as_dict()) != json.dumps(old)


# Scaled decoding --------------------------------------------------------------------------------------------

SMALL = {"size": {"shortest_edge": 32}, "crop_size": 32}


def drawing(width: int, height: int) -> Image.Image:
    """A picture with something to see in every place, and nothing finer than a decoder can halve."""
    x, y = np.meshgrid(np.linspace(0, 6, width), np.linspace(0, 8, height))
    waves = [np.sin(x + 2 * y), np.cos(3 * x - y), np.sin(x * y / 4)]
    return Image.fromarray(np.stack([127.5 + 120 * wave for wave in waves], axis=-1).astype(np.uint8))


def jpeg(picture: Image.Image, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


def exact_and_scaled(data: bytes, config: dict[str, Any]) -> tuple[Any, Any]:
    exact = parse_preprocessing(config, "here")
    scaled = replace(exact, scaled=True)
    first, second = (photo_pixels(data, one, Limits()).astype(int) for one in (exact, scaled))
    return first, second


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(96, 128), (97, 129), (211, 103), (800, 1067), (48, 700)])
def test_scaled_pixels_are_nearly_the_exact_ones(size: tuple[int, int], orientation: int) -> None:
    exact, scaled = exact_and_scaled(jpeg(drawing(*size), orientation), SMALL)
    assert scaled.shape == exact.shape
    assert np.abs(scaled - exact).mean() < 1.5  # levels of 256


@settings(max_examples=60, deadline=None)
@given(st.integers(30, 400), st.integers(30, 400), st.integers(1, 8), st.integers(8, 40), st.integers(8, 40))
def test_scaled_pixels_lie_in_their_places(
    width: int, height: int, orientation: int, edge: int, crop: int
) -> None:
    """A shift by one of the result's pixels would change them by several levels on average."""
    config = {"size": {"shortest_edge": edge}, "crop_size": crop}
    exact, scaled = exact_and_scaled(jpeg(drawing(width, height), orientation), config)
    shifted = np.abs(np.roll(exact, 1, axis=(0, 1)) - exact).mean()
    assert np.abs(scaled - exact).mean() < max(2.0, 0.35 * shifted)


@pytest.mark.parametrize(
    ("config", "edge"),
    [({}, 336), (SMALL, 48), ({"size": [20, 31], "crop_size": 10}, 47), ({"do_resize": False}, None)],
)
def test_what_a_photo_may_be_decoded_to(config: dict[str, Any], edge: int | None) -> None:
    exact = parse_preprocessing(config, "here")
    assert exact.needed_edge is None
    assert replace(exact, scaled=True).needed_edge == edge


def test_the_checkpoints_settings_do_not_tell_how_it_is_run() -> None:
    exact = parse_preprocessing({}, "here")
    assert replace(exact, scaled=True).as_dict() == exact.as_dict()

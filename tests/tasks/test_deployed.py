"""A run that the UI started reads what was configured, and nothing else of the machine."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from fashion_clip.errors import UsageError
from tasks import deployed
from tasks.settings import DEFAULT_MODEL, Settings

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def shop(tmp_path: Path) -> Settings:
    """Two places that may be read; beside them one that may not, with a link to it in the first."""
    for name in ("photos/2026", "photos-of-others", "labelled", "models/a-version"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "photos-of-others")
    (tmp_path / "shop.toml").touch()
    return Settings(
        database_url=f"sqlite:///{tmp_path}/x.db",
        source=str(tmp_path / "photos"),
        sources=(str(tmp_path / "labelled"), "s3://shop/photos", "hf://shop/photos"),
        models_dir=str(tmp_path / "models"),
        taxonomy=str(tmp_path / "shop.toml"),
    )


INSIDE = (
    "{}/photos", "{}/photos/", "{}/photos/2026", "{}/photos/2026/../2026", "{}/labelled",
    "{}/photos/none-yet", "s3://shop/photos", "s3://shop/photos/", "s3://shop/photos/2026", "hf://shop/photos",
)  # fmt: skip
OUTSIDE = (
    "{}", "/etc", "/", "{}/photos-of-others", "{}/photos/../photos-of-others", "{}/photos/link", "photos",
    ".", "~", "s3://shop", "s3://shop/photos-of-others", "s3://other/photos", "hf://shop/photos:test",
    "hf://other", "file:///etc", "shop/photos", "\0",
)  # fmt: skip


@pytest.mark.parametrize("source", INSIDE)
def test_a_source_that_is_configured_or_lies_below_one(shop: Settings, tmp_path: Path, source: str) -> None:
    deployed.refuse_source(source.format(tmp_path), shop)


@pytest.mark.parametrize("source", OUTSIDE)
def test_no_other_source(shop: Settings, tmp_path: Path, source: str) -> None:
    with pytest.raises(UsageError):
        deployed.refuse_source(source.format(tmp_path), shop)


def test_the_form_refuses_the_same_but_for_links(shop: Settings, tmp_path: Path) -> None:
    pattern = deployed.source_pattern(shop)
    assert pattern is not None
    links_and_dots = ("{}/photos/link", "{}/photos/2026/../2026")
    for source in (*INSIDE, *OUTSIDE):
        if source not in links_and_dots:
            found = re.search(pattern, source.format(tmp_path))
            assert (found is not None) == (source in INSIDE), source


def test_a_form_is_as_it_is_where_nothing_is_configured() -> None:
    assert deployed.source_pattern(Settings()) is None


def test_a_name_is_no_regular_expression(tmp_path: Path) -> None:
    pattern = deployed.source_pattern(Settings(source="/photos (new) [1]+.d"))
    assert pattern is not None
    assert re.search(pattern, "/photos (new) [1]+.d/x")
    assert not re.search(pattern, "/photos (new) [1]+xd/x")


def test_a_taxonomy_ships_is_configured_or_lies_with_the_photos(shop: Settings, tmp_path: Path) -> None:
    for name in ("products", "demo", f"{tmp_path}/shop.toml", f"{tmp_path}/labelled/x.toml"):
        deployed.refuse_taxonomy(name, shop)
    for name in ("/etc/passwd", f"{tmp_path}/other.toml", "./products", "s3://shop/photos-x"):
        with pytest.raises(UsageError, match="no taxonomy that runs of deployments may read"):
            deployed.refuse_taxonomy(name, shop)


def test_a_model_is_configured_or_registered(shop: Settings, tmp_path: Path, catalogue: Engine) -> None:
    for name in (DEFAULT_MODEL, f"{tmp_path}/models/a-version", f"{tmp_path}/labelled/clip"):
        deployed.refuse_model(name, shop)
    for name in ("another/clip", "/etc", "never-registered", f"{tmp_path}/models/../x"):
        with pytest.raises(UsageError, match="no model that runs of deployments may load"):
            deployed.refuse_model(name, shop)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("DATABASE_URL", {"database_url": "sqlite:///x.db"}),
        ("SOURCE", {"source": "photos"}),
        ("SOURCES", {"sources": ("./photos",)}),
        ("MODELS_DIR", {"models_dir": "models"}),
        ("TAXONOMY", {"taxonomy": "shop.toml"}),
        ("MODEL", {"model": "./clip"}),
        ("MODEL", {"model": "our/clip"}),
    ],
)
def test_a_relative_path_is_refused_with_what_to_do(
    shop: Settings, name: str, setting: dict[str, object]
) -> None:
    Path("our/clip").mkdir(parents=True)
    deployed.refuse_relative(shop)
    changed = Settings(**{**shop.model_dump(), **setting})
    with pytest.raises(UsageError, match=f"FASHION_CLIP_{name} names .* relative.*fashion-clip serve"):
        deployed.refuse_relative(changed)


def test_names_are_no_relative_paths(shop: Settings) -> None:
    deployed.refuse_relative(shop.model_copy(update={"model": "openai/clip", "taxonomy": "products"}))
    at_home = {
        "database_url": SecretStr("sqlite:///~/x.db"),
        "models_dir": "~/models",
        "taxonomy": "~/x.toml",
    }
    deployed.refuse_relative(shop.model_copy(update=at_home))


def test_only_runs_of_deployments_are_held_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed.check(sources=["/etc"], models=["/etc"], taxonomy="/etc/passwd")
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "some deployment")  # Prefect's own way to test it
    with pytest.raises(UsageError, match="FASHION_CLIP_DATABASE_URL"):
        deployed.check()
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{tmp_path}/made.db")
    monkeypatch.setenv("FASHION_CLIP_MODELS_DIR", "s3://shop/models")
    deployed.check(sources=[None], models=[None], taxonomy=None)
    for asked in ({"sources": ["/etc"]}, {"models": ["/etc"]}, {"taxonomy": "/etc/passwd"}):
        with pytest.raises(UsageError, match="runs of deployments"):
            deployed.check(**asked)

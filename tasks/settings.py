"""What the environment says: variables FASHION_CLIP_*, also from a file .env in the working folder."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from fashion_clip.decode import MAX_BYTES, MAX_PIXELS
from fashion_clip.errors import UsageError
from fashion_clip.preprocessing import Decode
from fashion_clip.runtimes import Precision, Runtime

DEFAULT_MODEL = "openai/clip-vit-base-patch32"
DEFAULT_TAXONOMY = "products"


def _has_one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"needs exactly one group, for the product id, and has {groups}")
    return pattern


class Settings(BaseSettings):
    """All settings; `settings()` reads them with errors made readable."""

    model_config = SettingsConfigDict(
        env_prefix="FASHION_CLIP_", env_file=".env", env_ignore_empty=True, extra="ignore"
    )

    # A secret: the URL may hold a password. It is never a Prefect parameter, nor logged.
    database_url: SecretStr = SecretStr("sqlite:///fashion_clip.db")
    source: str | None = None
    model: str | None = None  # None: the catalogue's champion; DEFAULT_MODEL where the catalogue is empty
    taxonomy: str | None = None  # likewise, with DEFAULT_TAXONOMY
    models_dir: str = "models"  # where models that were made are kept: a folder, or s3://BUCKET/PREFIX
    approval: Literal["ask", "automatic"] = "ask"  # who puts a model in place that was proved to be better
    retrain_cooldown_hours: float = Field(20.0, ge=0)  # after a retraining that found nothing better
    runtime: Runtime = "auto"
    # Of the embeddings of a new catalogue; one that has some goes on with its own.
    precision: Precision | Literal["auto"] = "auto"  # bfloat16 where the hardware multiplies in it
    decode: Decode | Literal["auto"] = "auto"  # scaled
    # Searched in a photo's key (the path below the source); its group is the product id.
    product_id: Annotated[str, AfterValidator(_has_one_group)] = r"([^/]*?)(?:\.[^./]*)?$"
    # Files with other suffixes are counted as ignored.
    suffixes: frozenset[str] = frozenset(
        {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
    )
    shard_size: int = Field(256, ge=1, le=4096)
    max_vanished: float = Field(0.10, ge=0, le=1)
    max_quarantined: float = Field(0.05, ge=0, le=1)
    audit_photos: int = Field(20, ge=0)  # drawn of each run's, for people to look at
    # Larger photos go to quarantine: by their size before they are read, by their header before decoding.
    max_bytes: int = Field(MAX_BYTES, ge=1)
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    decode_seconds: float = Field(15.0, gt=0)


def settings() -> Settings:
    """The settings of this process.

    Raises:
        UsageError: a variable has a value that cannot be used.
    """
    try:
        return Settings()
    except SettingsError as error:  # only `suffixes` is more than a word
        raise UsageError(
            f'FASHION_CLIP_SUFFIXES: {error}; expected a JSON list such as [".jpg", ".png"]'
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "FASHION_CLIP_" + str(first["loc"][0]).upper()
        raise UsageError(f"{name}={first['input']!r}: {first['msg']}") from None

"""What the environment says: variables FASHION_CLIP_*, also from a file .env in the working folder."""

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from fashion_clip.decode import MAX_BYTES, MAX_PIXELS
from fashion_clip.errors import UsageError
from fashion_clip.preprocessing import Decode
from fashion_clip.runtimes import Precision, Runtime

DEFAULT_MODEL = "openai/clip-vit-base-patch32"
DEFAULT_TAXONOMY = "products"
PREFIX = "FASHION_CLIP_"
ENV_FILE = ".env"


def _has_one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"needs exactly one group, for the product id, and has {groups}")
    return pattern


def _is_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no time zone; expected a name such as UTC or Europe/Berlin") from None
    return name


def _has_five_fields(cron: str) -> str:
    if len(cron.split()) != 5:
        raise ValueError('not the five fields of a cron line, such as "0 2 * * *"')
    return cron


def _has_addresses(recipients: str) -> str:
    if not all("@" in address.strip("@ ") for address in recipients.split(",")):
        raise ValueError("expected addresses, with commas between them, such as ann@shop.example")
    return recipients


class Settings(BaseSettings):
    """All settings; `settings()` reads them with errors made readable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, env_ignore_empty=True, extra="ignore"
    )

    # A secret: the URL may hold a password. It is never a Prefect parameter, nor logged.
    database_url: SecretStr = SecretStr("sqlite:///fashion_clip.db")
    source: str | None = None
    sources: tuple[str, ...] = ()  # what else runs that Prefect's UI starts may read
    model: str | None = None  # None: the catalogue's champion; DEFAULT_MODEL where the catalogue is empty
    taxonomy: str | None = None  # likewise, with DEFAULT_TAXONOMY
    models_dir: str = "models"  # where models that were made are kept: a folder, or s3://BUCKET/PREFIX
    approval: Literal["ask", "automatic"] = "ask"  # who puts a model in place that was proved to be better
    retrain_cooldown_hours: float = Field(20.0, ge=0)  # after a retraining that found nothing better
    # What a drop in accuracy does: tell Prefect, whose deployment retrain-model starts by that event; or
    # retrain within the run that found it; or nothing.
    retrain: Literal["event", "inline", "never"] = "event"
    # That a retraining climbs of its own accord; fine-tuning towers on a processor takes hours.
    rungs: Annotated[tuple[Literal["calibrate", "head", "lora", "full"], ...], Field(min_length=1)] = (
        "calibrate", "head", "lora", "full",
    )  # fmt: skip
    retrain_on_drift: bool = False  # also when photos have changed, before truth tells what it costs
    baseline_truths: int = Field(200, ge=20)  # that tell how right a new champion is, before it is watched
    # Between two looks at accuracy, at least: a look is a night, of which the alarm's year has 365.
    check_hours: float = Field(20.0, ge=0)
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
    shard_size: int | None = Field(None, ge=1, le=4096)  # photos; left out, see tasks.shard_size
    max_vanished: float = Field(0.10, ge=0, le=1)
    max_quarantined: float = Field(0.05, ge=0, le=1)
    audit_photos: int = Field(20, ge=0)  # drawn of each run's, for people to look at
    # Larger photos go to quarantine: by their size before they are read, by their header before decoding.
    max_bytes: int = Field(MAX_BYTES, ge=1)
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    decode_seconds: float = Field(15.0, gt=0)
    # Of the nightly deployment, when it is made; from then on Prefect's UI rules.
    cron: Annotated[str, AfterValidator(_has_five_fields)] = "0 2 * * *"
    timezone: Annotated[str, AfterValidator(_is_time_zone)] = "UTC"
    # Who is told of failures, falls and models that wait. Secrets: they let anybody write in one's name.
    slack_webhook: SecretStr | None = None
    notify_email: Annotated[str, AfterValidator(_has_addresses)] | None = None
    smtp_url: SecretStr | None = None  # smtp://USER:PASSWORD@HOST:PORT, or smtps://


def settings() -> Settings:
    """The settings of this process.

    Raises:
        UsageError: a variable has a value that cannot be used.
    """
    try:
        return Settings()
    except SettingsError as error:  # only what is more than a word
        examples = {"sources": '["/data/photos"]', "rungs": '["calibrate", "head"]'}
        field = next((field for field in examples if f'"{field}"' in str(error)), "suffixes")
        name, example = field.upper(), examples.get(field, '[".jpg", ".png"]')
        raise UsageError(f"{PREFIX}{name}: {error}; expected a JSON list such as {example}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise UsageError(f"{name}={first['input']!r}: {first['msg']}") from None

"""Every error that a user can meet, in one tree.

    FashionClipError             shown as one line; exit code 1
    |-- UsageError               an argument or a setting that cannot be right; exit code 2
    |   |-- CheckpointError      a model name or folder that holds no CLIP checkpoint
    |   `-- TaxonomyError        a taxonomy file or a label list that cannot be used
    |-- ImageError               the bytes of one photo cannot be made into pixels; the run goes on
    |-- SourceError              a folder or bucket that cannot be listed or read
    |-- EncoderDriftError        the same model gives other vectors than those that the catalogue holds
    |-- QuarantineError          too many photos of a run failed; what it did is kept
    |-- RetrainingRefusedError   another one is under way, or it is too soon for the next one
    `-- CatalogError             the database cannot be reached, or refuses
        |-- SupersededError      another label set is served than the one that was labelled for
        `-- CatalogAwayError     it cannot be reached or is busy just now; trying again may help

Each message names the value, what was expected, and what to do.
"""


class FashionClipError(Exception):
    """Base of all errors that are shown to users without a traceback."""


class UsageError(FashionClipError):
    """An argument or a setting that cannot be right."""


class CheckpointError(UsageError):
    """A model name or folder that holds no CLIP checkpoint which may be loaded."""


class TaxonomyError(UsageError):
    """A taxonomy file or a label list that cannot be used."""


class ImageError(FashionClipError):
    """The bytes of one photo cannot be made into pixels.

    `reason` is one short snake_case word from a closed set, the same on every machine, to group by;
    `detail` says what was found.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class SourceError(FashionClipError):
    """A folder or bucket that cannot be listed or read."""


class EncoderDriftError(FashionClipError):
    """The same model gives other vectors here than those that the catalogue holds; they must not be mixed."""


class QuarantineError(FashionClipError):
    """More photos of a run failed than is plausible; what the run did is kept."""


class RetrainingRefusedError(FashionClipError):
    """Another retraining is under way or waits for approval, or it is too soon for the next one."""


class CatalogError(FashionClipError):
    """The database cannot be reached, or refuses what was asked."""


class SupersededError(CatalogError):
    """Another label set is served by now than the one that photos were labelled for; they are done anew."""


class CatalogAwayError(CatalogError):
    """The database cannot be reached or is busy just now: an outage, which trying again may outlast."""

"""What an error of boto3 means, told without secrets: ask again, give up the photo, or give up the source."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

_PASSING_CODES = {
    "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded",
    "RequestTimeout", "RequestTimeoutException", "InternalError", "ServiceUnavailable", "OperationAborted",
}  # fmt: skip
_EXPIRED = "the credentials have expired: get new ones, and start the run again"
_ELSEWHERE = "the bucket is in another region: set AWS_DEFAULT_REGION"
_NO_CREDENTIALS = (
    "no usable credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this "
    "machine a role"
)
_WHAT_TO_DO = {
    "InvalidAccessKeyId": "the access key is not known there: check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "InvalidToken": "the session token is wrong: check AWS_SESSION_TOKEN or AWS_PROFILE",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    "NoSuchBucket": "there is no such bucket: check its name, and AWS_ENDPOINT_URL_S3",
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
}
_IN_WORDS = {
    "EndpointConnectionError": "it cannot be connected to",
    "ConnectTimeoutError": "it cannot be connected to in time",
    "ProxyConnectionError": "the proxy cannot be connected to",
    "ReadTimeoutError": "the answer did not come",
    "ConnectionClosedError": "the connection broke",
    "ResponseStreamingError": "the connection broke",
    "IncompleteReadError": "the connection broke",
}


class Kind(Enum):
    """What an error calls for."""

    PASSING = auto()  # ask again
    OF_OBJECT = auto()  # this object cannot be had
    GONE = auto()  # there is no such object
    DENIED = auto()  # the credentials are right, and do not suffice
    OF_SOURCE = auto()  # nothing can be had until somebody does something


class S3Error(Exception):
    """A request that failed. `told` is a phrase for messages, without secrets."""

    def __init__(self, kind: Kind, told: str):
        super().__init__(told)
        self.kind = kind
        self.told = told


class CorruptBytesError(S3Error):
    """Bytes that do not fit their checksum. Asked for again, but not for long: the store may have them so."""

    def __init__(self, told: str):
        super().__init__(Kind.PASSING, told)


@contextmanager
def told_as_s3_errors() -> Iterator[None]:
    """Turns every error that a request may end with into an S3Error."""
    import urllib3
    from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _of_answer(error.response) from None
    except FlexibleChecksumError:
        raise CorruptBytesError("the bytes do not fit the stored checksum") from None
    except (ResponseParserError, ValueError):
        raise S3Error(Kind.PASSING, "the answer is not one of S3") from None
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise _of_no_answer(error) from None


@contextmanager
def told_as_wrong_settings() -> Iterator[None]:
    """Turns the errors of making a client into S3Errors."""
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except (BotoCoreError, ValueError) as error:
        raise _of_settings(error) from None


def _of_settings(error: Exception) -> S3Error:
    return S3Error(
        Kind.OF_SOURCE,
        f"the AWS settings of this machine cannot be used ({type(error).__name__}): check AWS_PROFILE, "
        "AWS_ENDPOINT_URL_S3 and AWS_DEFAULT_REGION",
    )


def _of_answer(response: dict[str, Any]) -> S3Error:
    code = str(response.get("Error", {}).get("Code", ""))[:100]
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    told = f"answer {status} {code!r}"
    if code in _WHAT_TO_DO:
        return S3Error(Kind.OF_SOURCE, f"{_WHAT_TO_DO[code]} ({told})")
    if code in _PASSING_CODES or status == HTTPStatus.TOO_MANY_REQUESTS:
        return S3Error(Kind.PASSING, told)
    if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return S3Error(Kind.PASSING, told)
    if code == "InvalidObjectState":
        return S3Error(Kind.OF_OBJECT, f"it is archived and must be restored first ({told})")
    if status == HTTPStatus.NOT_FOUND:
        return S3Error(Kind.GONE, told)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return S3Error(Kind.DENIED, told)
    return S3Error(Kind.OF_OBJECT, told)


def _of_no_answer(error: Exception) -> S3Error:
    """Of these errors only the kind is told: their texts may hold an address with a password in it."""
    import urllib3
    from botocore import exceptions

    name = type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return S3Error(Kind.OF_SOURCE, "its certificate is not trusted: name the CA's file in AWS_CA_BUNDLE")
    if isinstance(error, TimeoutError):
        return S3Error(Kind.PASSING, str(error))
    of_network = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError)
    if isinstance(error, (*of_network, urllib3.exceptions.HTTPError, OSError)):
        return S3Error(Kind.PASSING, _IN_WORDS.get(name, name))
    of_credentials = (
        exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ConfigNotFound,
        exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError, exceptions.NoAuthTokenError,
        exceptions.TokenRetrievalError, exceptions.SSOError, exceptions.LoginError,
        exceptions.RefreshWithMFAUnsupportedError,
    )  # fmt: skip
    if isinstance(error, of_credentials):
        return S3Error(Kind.OF_SOURCE, f"{_NO_CREDENTIALS} ({name})")
    return _of_settings(error)

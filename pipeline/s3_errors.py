"""Errors of S3 and of boto3: which are transient, and what to do about the others.

docs/s3.md shows both tables; a test compares them.
"""

import os
import re

from botocore import exceptions as boto

_RENEWED = "use a role, a profile or a web identity, which are renewed, or run `make blocks` with new ones"
_URI = "correct TOTESYS_RAW_URI or TOTESYS_PROCESSED_URI and run `make blocks`"
_DENIED = "access denied; the role needs {right} here"
_EXPIRED = f"the credentials have expired; {_RENEWED}"
_TOKEN = f"the session token is not valid; {_RENEWED}"
_REGION = (
    "the bucket is in another region or at another endpoint; set AWS_REGION or AWS_ENDPOINT_URL_S3 to the"
    " bucket's own and run `make blocks`"
)
_CLOCK = "this machine's clock is wrong; set it"
_KMS = "the bucket's KMS key cannot be used; enable it, or give the bucket another one"
_QUOTA = "the store is full or its quota is reached; free some room or raise the quota"
_CHECKSUM = "the server does not accept boto3's checksums; set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
_ACCOUNT = "the AWS account may not use S3; ask its owner"
_ROLE = "the role cannot be assumed; check its ARN and its trust policy"
_SSO = "the SSO session has expired; run `aws sso login` on this machine"
_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

# By the code of S3's response. {right} is the permission that the request needs.
ANSWERS = {
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "NoSuchBucket": f"the bucket does not exist; create it, or {_URI}",
    "InvalidBucketName": f"this is not a valid bucket name; {_URI}",
    "InvalidAccessKeyId": "the access key is not known; check the aws-credentials block",
    "SignatureDoesNotMatch": "the secret key is wrong; check the aws-credentials block",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _TOKEN,
    "InvalidClientTokenId": _TOKEN,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "301": _REGION,
    "400": "S3 does not say why; check AWS_REGION, the session token and this machine's clock",
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "KMS.DisabledException": _KMS,
    "KMS.NotFoundException": _KMS,
    "KMS.KMSInvalidStateException": _KMS,
    "KMS.InvalidKeyUsageException": _KMS,
    "InvalidObjectState": "the object is archived; restore it, and let no lifecycle rule archive this prefix",
    "QuotaExceeded": _QUOTA,
    "XMinioStorageFull": _QUOTA,
    "XMinioAdminBucketQuotaExceeded": _QUOTA,
    "507": _QUOTA,
    "NotImplemented": _CHECKSUM,
    "XAmzContentSHA256Mismatch": _CHECKSUM,
    "AccountProblem": _ACCOUNT,
    "AllAccessDisabled": _ACCOUNT,
    "NotSignedUp": _ACCOUNT,
    "KeyTooLongError": f"the key is longer than 1024 bytes; choose a shorter prefix: {_URI}",
}
# By the class of boto3's exception, where there is no response of S3.
UNANSWERED = {
    "NoCredentialsError": f"no AWS credentials are found; {_KEYS}, or AWS_PROFILE, and run `make blocks`,"
    " or give this machine a role",
    "PartialCredentialsError": f"only half of the AWS credentials is set; {_KEYS} and run `make blocks`",
    "ProfileNotFound": "the AWS profile is not in the AWS configuration files of this machine; add it, or set"
    " AWS_PROFILE to another one and run `make blocks`",
    "ConfigNotFound": "AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE names a file that does not exist",
    "ConfigParseError": "AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE names a file that cannot be parsed",
    "InvalidConfigError": "the AWS configuration files of this machine are wrong; correct the profile",
    "CredentialRetrievalError": "the AWS profile's source of credentials fails; run"
    " `aws sts get-caller-identity` on this machine",
    "UnauthorizedSSOTokenError": _SSO,
    "SSOTokenLoadError": _SSO,
    "TokenRetrievalError": _SSO,
    "SSLError": "the server's certificate is not trusted; set AWS_CA_BUNDLE to its authority's certificate",
    "NoRegionError": "no AWS region is set; set AWS_REGION and run `make blocks`",
    "ParamValidationError": f"this is not a valid bucket name; {_URI}",
}

_MISSING = {"NoSuchKey", "404"}
# Transient although the HTTP status is that of a wrong request.
_TRANSIENT = re.compile(
    r"RequestTimeout$|Throttl|SlowDown|TooManyRequests|RequestLimitExceeded|BadDigest|IncompleteBody"
    r"|OperationAborted|Conflict|NoSuchUpload|IDPCommunicationError|Unavailable|Internal|DependencyTimeout"
)
_BUSY = {408, 409, 425, 429}
_TRANSIENT_WITHOUT_RESPONSE = (
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.ResponseStreamingError,
    boto.ChecksumError,
    boto.FlexibleChecksumError,
    boto.MetadataRetrievalError,
)
# Credential services of the machine, which may be unreachable for a moment.
_MACHINE = {"iam-role", "container-role"}
_STS = "AssumeRole"
# The right that each operation needs; all others write.
_RIGHTS = {
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "DeleteObject": "DeleteObject",
}


class S3Error(OSError):
    """S3 or boto3 failed; ``hint`` is what to do about a permanent error, None for a transient one."""

    def __init__(self, text: str, hint: str | None = None) -> None:
        super().__init__(text)
        self.hint = hint


def as_os_error(error: Exception) -> OSError:
    """The error as OSError, as other storage raises it; FileNotFoundError for a missing object."""
    if isinstance(error, boto.ClientError) and _code(error) in _MISSING:
        return FileNotFoundError(_text(error))
    return S3Error(_text(error), hint(error))


def hint(error: BaseException) -> str | None:
    """The problem and what to do about it; None for a transient error."""
    if isinstance(error, boto.ClientError):
        advice = _of_response(error)
    elif _is_endless(error):
        advice = _REGION
    elif isinstance(error, boto.BotoCoreError) and not _is_transient(error):
        names = (kind.__name__ for kind in type(error).__mro__)
        advice = next((UNANSWERED[name] for name in names if name in UNANSWERED), "the AWS client fails")
    else:
        advice = None
    if isinstance(error, boto.SSLError) and (bundle := os.environ.get("AWS_CA_BUNDLE")):
        advice = f"{advice}; it is {bundle} here"
    return advice and f"{advice} ({_text(error)})"


def _is_endless(error: BaseException) -> bool:
    """Whether boto3 followed redirects without a region until Python's recursion limit."""
    return isinstance(error, RecursionError) or isinstance(error.__context__, RecursionError)


def _of_response(error: boto.ClientError) -> str | None:
    code, status = _code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if error.operation_name.startswith(_STS) and code not in {"ExpiredToken", "ExpiredTokenException"}:
        return None if _is_transient_code(code, status) else _ROLE
    if code in ANSWERS:
        right = _RIGHTS.get(error.operation_name, "PutObject")
        return ANSWERS[code].format(right=f"s3:{right}")
    return None if _is_transient_code(code, status) else "S3 refuses this"


def _is_transient_code(code: str, status: int) -> bool:
    return bool(_TRANSIENT.search(code)) or status in _BUSY or status >= 500  # noqa: PLR2004  HTTP's own


def _is_transient(error: boto.BotoCoreError) -> bool:
    if isinstance(error, boto.CredentialRetrievalError):
        return error.kwargs.get("provider") in _MACHINE
    return isinstance(error, _TRANSIENT_WITHOUT_RESPONSE) and not isinstance(error, boto.SSLError)


def _code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _text(error: BaseException) -> str:
    """The message of S3 or boto3, without boto3's usual preamble."""
    if isinstance(error, boto.ClientError):
        message = error.response.get("Error", {}).get("Message") or "no message"
        return " ".join(f"{error.operation_name} answers {_code(error)}: {message}".split())
    return " ".join(f"{type(error).__name__}: {error}".split())

"""The errors of this package: sentences to a person at 3 a.m. This module imports nothing.

Every error says what failed, on which object, what the server said and what to do next. ``status`` is the HTTP
status where one exists, ``remedy`` the next step (it is part of ``str(error)``). Errors can be pickled (Airflow
serialises them) and never hold headers, URLs with credentials, or request bodies.

:data:`elastic_ml.operators.base.RETRY_POLICY` tells Airflow which of them are worth another try.
"""


class ElasticMLError(Exception):
    """Base of all errors of the package.

    :param message: what failed, on which object, and what the server said.
    :param status: HTTP status of the answer, or None where there was no answer.
    :param remedy: what to do next; shown after the message.
    :param error_type: Elasticsearch's own name of the error, such as ``resource_not_found_exception``.
    """

    def __init__(self, message: str, *, status: int | None = None, remedy: str = "", error_type: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.remedy = remedy
        self.error_type = error_type

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class ConnectionSettingsError(ElasticMLError):
    """The connection cannot work as it is set: address, TLS, an unknown extra, not an Elasticsearch server."""


class InvalidRequestError(ElasticMLError):
    """The server refused the request as wrong (400, 413): the same request will be refused again."""


class AlreadyExistsError(InvalidRequestError):
    """An object of that name exists already (400 ``resource_already_exists_exception``)."""


class NotFoundError(ElasticMLError):
    """The object does not exist (404)."""


class ConflictError(ElasticMLError):
    """Somebody else changed the object, or it is in a state that forbids the request (409)."""


class SecurityError(ElasticMLError):
    """Who we are is unknown (401), or what we asked is not allowed to us (403)."""


class LicenseError(ElasticMLError):
    """The cluster's licence does not contain the feature (403 "current license is non-compliant")."""


class VersionError(ElasticMLError):
    """The server's version or flavor does not have this API (410 on Serverless, 501, no handler)."""


class UnavailableError(ElasticMLError):
    """The server could not answer now: 429, 502, 503, 504, a timeout or a lost connection. Worth another try."""


class DiskFullError(ElasticMLError):
    """Indices are read-only because a disk passed the flood-stage watermark. Retrying does not free the disk."""


class UpgradeModeError(ElasticMLError):
    """Machine learning is in upgrade mode: jobs wait, nothing can be started until it ends."""


class LockHeldError(ElasticMLError):
    """Somebody else holds a lock that this step needs.

    :param owner: who holds it, as far as known.
    :param expires: ISO time at which it expires, as far as known.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        remedy: str = "",
        error_type: str = "",
        owner: str = "",
        expires: str = "",
    ) -> None:
        super().__init__(message, status=status, remedy=remedy, error_type=error_type)
        self.owner = owner
        self.expires = expires


class JobFailedError(ElasticMLError):
    """A remote job ended without its result."""


class WaitTimeoutError(ElasticMLError):
    """A remote job did not end before its deadline; it was stopped."""


class NotReadyError(ElasticMLError):
    """The data or the cluster is not ready for this step."""


class GateError(ElasticMLError):
    """A model did not pass its gate."""


class SupersededError(ElasticMLError):
    """A newer candidate or another champion made this run pointless."""


class IngestError(ElasticMLError):
    """Reading or indexing a partition failed."""


class PartialFailureError(ElasticMLError):
    """Some parts of a step worked and others did not; what worked is kept, a retry does the rest.

    :param failures: what failed, as name → sentence.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        remedy: str = "",
        error_type: str = "",
        failures: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status, remedy=remedy, error_type=error_type)
        self.failures = dict(failures or {})


class ProjectFileError(ElasticMLError):
    """A file of the project folder is wrong.

    :param file: the file, as the user would open it.
    :param line: its line, counted from 1, or None where it cannot be told.
    :param field: dotted path of the key.
    :param problem: what is wrong with it.
    :param remedy: what to write instead.

    ``also`` holds what else is wrong with the same file, where all of it was looked for.
    """

    def __init__(self, file: object, line: int | None, field: str, problem: str, remedy: str = "") -> None:
        self.file = str(file)
        self.line = line
        self.field = field
        self.problem = problem
        self.also: tuple[ProjectFileError, ...] = ()
        where = f"{self.file}:{line}" if line is not None else self.file
        super().__init__(f"{where}: {field}: {problem}" if field else f"{where}: {problem}", remedy=remedy)

    def __reduce__(self) -> tuple:
        return type(self), (self.file, self.line, self.field, self.problem, self.remedy)

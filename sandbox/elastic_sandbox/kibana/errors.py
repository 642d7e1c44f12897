"""The errors Kibana answers: Boom's body ``{"statusCode", "error", "message"}`` instead of Elasticsearch's."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from elastic_sandbox.errors import ElasticError


class KibanaError(ElasticError):
    """A failure as Kibana reports it.

    :param attributes: further members under ``attributes``, where an API has them
    """

    def __init__(self, status: int, message: str, *, attributes: dict[str, Any] | None = None) -> None:
        super().__init__(status, HTTPStatus(status).phrase, message)
        self.attributes = attributes

    def body(self) -> dict[str, Any]:
        """``{"statusCode": 404, "error": "Not Found", "message": "..."}``."""
        body: dict[str, Any] = {"statusCode": self.status, "error": self.type, "message": self.reason}
        return body if self.attributes is None else {**body, "attributes": self.attributes}


def as_kibana(error: ElasticError) -> KibanaError:
    """An error of the parts behind Kibana, or of an injected fault, in Kibana's form.

    A fault of the sandbox itself keeps its name, so that tests notice it.
    """
    if isinstance(error, KibanaError):
        return error
    known = error.type in {"sandbox_unsupported", "sandbox_failure"}
    made = KibanaError(error.status, f"{error.type}: {error.reason}" if known else error.reason)
    made.headers = error.headers
    return made


def unsupported(what: str) -> KibanaError:
    """What Kibana has and the sandbox has not: 501, naming the thing."""
    return KibanaError(
        501,
        f"sandbox_unsupported: {what} is not supported by the sandbox's Kibana; run this against a real Kibana, or "
        "open an issue naming it",
    )


def bad_request(message: str) -> KibanaError:
    """400."""
    return KibanaError(400, message)


def not_found(kind: str, name: str) -> KibanaError:
    """404 of the saved objects client, which names the object by its saved object's type."""
    return KibanaError(404, f"Saved object [{kind}/{name}] not found")


def conflict(kind: str, name: str) -> KibanaError:
    """409 of the saved objects client: the id is in use, here or in another space."""
    return KibanaError(409, f"Saved object [{kind}/{name}] conflict")

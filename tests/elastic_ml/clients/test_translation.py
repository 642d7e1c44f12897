"""What the server says, as one of our errors: one row per meaning."""

import pytest

from elastic_ml import exceptions as e
from elastic_ml.clients.translation import error_from_answer

DOING = "PUT /x"


def answer(kind, reason, **more):
    return {"error": {"type": kind, "reason": reason, "root_cause": [{"type": kind, "reason": reason}], **more}}


FLOOD = (
    "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, "
    "index has read-only-allow-delete block];"
)
LOCK = "Could not obtain lock because policy execution for [x] is already in progress."
UPGRADE = "Cannot perform cluster:admin/x action while upgrade mode is enabled"
BLOCK = "index [x] blocked by: [FORBIDDEN/8/index write (api)];"
SERVERLESS = "exists but is not available when running in serverless mode"
ROWS = [
    (400, "parse_exception", "unknown field [x]", e.InvalidRequestError, "Correct"),
    (400, "resource_already_exists_exception", "index [x/uuid] already exists", e.AlreadyExistsError, "Reuse"),
    (400, "illegal_argument_exception", "no handler found for uri [/x] and method [PUT]", e.VersionError, "Serverless"),
    (401, "security_exception", "unable to authenticate with provided credentials", e.SecurityError, "API key"),
    (403, "security_exception", "action [x] is unauthorized for API key", e.SecurityError, "privilege"),
    (403, "security_exception", "current license is non-compliant for [ml]", e.LicenseError, "Platinum"),
    (403, "cluster_block_exception", BLOCK, e.InvalidRequestError, "blocks"),
    (404, "resource_not_found_exception", "No known trained model with model_id [x]", e.NotFoundError, "name"),
    (406, "media_type_header_exception", "Invalid media-type value", e.VersionError, "9.2"),
    (409, "status_exception", "Cannot delete data frame analytics [x]", e.ConflictError, "current state"),
    (410, "api_not_available_exception", SERVERLESS, e.VersionError, ""),
    (413, "", "too large", e.InvalidRequestError, "chunks"),
    (429, "es_rejected_execution_exception", "rejected execution of coordinating operation", e.UnavailableError, ""),
    (429, "cluster_block_exception", FLOOD, e.DiskFullError, "Free disk"),
    (429, "es_rejected_execution_exception", LOCK, e.LockHeldError, "one at a time"),
    (429, "status_exception", UPGRADE, e.UpgradeModeError, "set_upgrade_mode"),
    (501, "sandbox_unsupported", "GET /x", e.VersionError, "docs/compatibility.md"),
    (503, "unavailable_shards_exception", "primary shard is not active", e.UnavailableError, ""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind", "reason", "error", "remedy"), ROWS, ids=lambda v: str(v)[:40])
def test_an_answer_becomes_its_own_error_with_the_servers_words(status, kind, reason, error, remedy):
    ours = error_from_answer(status, answer(kind, reason), doing=DOING)
    assert type(ours) is error
    assert ours.status == status
    assert ours.error_type == kind
    assert DOING in str(ours)
    assert reason in str(ours)
    assert remedy in ours.remedy


def test_the_deepest_cause_is_part_of_the_sentence():
    body = answer("mapper_parsing_exception", "Failed", caused_by={"type": "x", "reason": "the very cause"})
    assert "the very cause" in str(error_from_answer(400, body, doing=DOING))


def test_a_failed_search_says_what_a_shard_said():
    cause = {"type": "illegal_state_exception", "reason": "A document doesn't have a value"}
    shard = {"shard": 0, "reason": {"type": "script_exception", "reason": "runtime error", "caused_by": cause}}
    body = answer("search_phase_execution_exception", "all shards failed", phase="query", failed_shards=[shard])
    said = str(error_from_answer(400, body, doing=DOING))
    assert "all shards failed; caused by runtime error; caused by A document doesn't have a value" in said


def test_a_reason_that_carries_a_document_is_cut():
    assert len(str(error_from_answer(400, answer("x", "y" * 5000), doing=DOING))) < 1000


def test_a_bulk_items_error_object_is_understood_too():
    ours = error_from_answer(429, {"type": "cluster_block_exception", "reason": FLOOD}, doing="create of 1 in x")
    assert type(ours) is e.DiskFullError


@pytest.mark.parametrize("body", [None, "", "plain words", {"error": "plain words"}, {}])
def test_answers_without_an_error_object_still_make_a_sentence(body):
    assert "PUT /x: the server cannot answer now (503" in str(error_from_answer(503, body, doing=DOING))

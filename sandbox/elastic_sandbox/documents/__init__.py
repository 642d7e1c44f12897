"""Documents: the store, bulk and single-document APIs, versions, refresh and the translog."""

from elastic_sandbox.documents.documents import Documents, Hit, Snapshot
from elastic_sandbox.documents.operations import BulkOperation

__all__ = ["BulkOperation", "Documents", "Hit", "Snapshot"]

"""Reindex and delete by query: background tasks that page through a source and write what they find."""

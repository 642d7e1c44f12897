"""The `http` reader: records of a JSON API, window by window and page by page, along its links to the next page.

PingOne's audit API (`api: ping_one`), from its documentation and the Elastic integration that reads it:
`GET /v1/environments/{id}/activities` asks for a range of `recordedAt` in a SCIM filter whose bounds are exclusive and
have milliseconds, gives `_embedded.activities`, newest first, and links to the next page in `_links.next.href`, to be
followed as it is with the same token. Activities older than 14 days have to be restored before they can be read.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from elastic_ml.exceptions import ConnectionSettingsError, IngestError, UnavailableError
from elastic_ml.project.source import HttpOptions
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.readers.api_settings import settings_of, without_query
from elastic_ml.sources.readers.files import airflow_connection
from elastic_ml.sources.readers.http_client import ApiClient, TooMuchError
from elastic_ml.sources.records import Raw, get_path, timestamp
from elastic_ml.sources.strict_json import encode_record

if TYPE_CHECKING:
    from elastic_ml.project.source import Source

log = logging.getLogger(__name__)

SHORTEST_WINDOW = timedelta(minutes=1)
MOST_REPEATS = 3
"""Pages in a row with the very same records, each under a new link, before the API is taken to go in circles."""

_PING_ONE_PARAMS: dict[str, str | int] = {
    "filter": 'recordedAt gt "{after}" AND recordedAt lt "{end}"',
    "limit": 500,  # as Elastic's integration asks
}


@dataclass(frozen=True)
class Window:
    """A part of the partition: `start` is in it, `end` is not."""

    start: datetime
    end: datetime

    def halves(self) -> list[Window]:
        """Two windows of half its length, at whole milliseconds."""
        half = timedelta(milliseconds=(self.end - self.start) // timedelta(milliseconds=2))
        return [Window(self.start, self.start + half), Window(self.start + half, self.end)]


def read(source: Source, partition: Partition) -> Iterator[Raw]:
    """Yield every record of the partition, one page in memory at a time.

    :raises ConnectionSettingsError: the connection cannot work as it is set.
    :raises SecurityError: the API does not accept the credentials, or forbids this.
    :raises UnavailableError: the API did not answer in time.
    :raises IngestError: its pages are not what the source file says, or go in circles.
    """
    options = HttpOptions.model_validate(source.reader.options)
    settings = settings_of(airflow_connection(str(source.reader.conn_id), source))
    path = str(source.reader.path)
    if "{environment_id}" in path:
        if not settings.environment_id:
            raise ConnectionSettingsError(
                f"The path of the source {source.name} holds {{environment_id}}, and the connection "
                f"{settings.conn_id} has no such extra.",
                remedy="Add the extra environment_id, or write the id into the path.",
            )
        path = path.replace("{environment_id}", quote(settings.environment_id, safe=""))
    with contextlib.closing(ApiClient(settings)) as client:
        first = True
        for raw in _Pages(source, options, client, path).of(partition):
            yield raw._replace(first=True) if first else raw
            first = False


class _Pages:
    """The pages of a source's windows."""

    def __init__(self, source: Source, options: HttpOptions, client: ApiClient, path: str) -> None:
        self._source = source
        self._client = client
        self._path = path
        self._window = options.window
        ping_one = options.api == "ping_one"
        self._items = options.items or ("_embedded.activities" if ping_one else "")
        self._next = options.next or ("_links.next.href" if ping_one else "")
        self._params = {**(_PING_ONE_PARAMS if ping_one else {}), **options.params}

    def of(self, partition: Partition) -> Iterator[Raw]:
        """The records of all windows, in the order of time."""
        waiting = [Window(partition.start, partition.end)]
        if self._window:
            waiting = _cut(partition, self._window)
        while waiting:
            window = waiting.pop(0)
            url, params = self._first_request(window)
            try:
                page = self._client.page(url, params, divisible=True)
            except TooMuchError as error:
                if window.end - window.start < 2 * SHORTEST_WINDOW:
                    raise UnavailableError(
                        f"{error.message} Even the minute from {timestamp(window.start)} on is too much for it.",
                        status=error.status,
                        remedy="Run the task again later, or ask for fewer records per page in `options.params`.",
                    ) from None
                # Nothing of this window was yielded yet, so its halves repeat nothing.
                log.warning("%s: too much from %s on; asking for half", self._source.name, timestamp(window.start))
                waiting = window.halves() + waiting
                continue
            yield from self._along(url, page, timestamp(window.start))

    def _first_request(self, window: Window) -> tuple[str, dict[str, str]]:
        values = {
            "start": timestamp(window.start),
            "end": timestamp(window.end),
            "after": timestamp(window.start - timedelta(milliseconds=1)),
            **{f"{name}_s": str(int(moment.timestamp())) for name, moment in _bounds(window)},
            **{f"{name}_ms": str(round(moment.timestamp() * 1000)) for name, moment in _bounds(window)},
        }

        def filled(text: str) -> str:
            for name, value in values.items():
                text = text.replace("{" + name + "}", value)
            return text

        return self._client.url(filled(self._path)), {name: filled(str(text)) for name, text in self._params.items()}

    def _along(self, url: str, page: Any, begins: str) -> Iterator[Raw]:
        """The records of a window's pages, beginning with `page`, as long as there is a next one."""
        seen = {url}
        number, repeats, before = 1, 0, 0
        while True:
            records = self._records(page, url, number)
            raws = [
                Raw(
                    encode_record(item),
                    f"{begins} page {number} item {place}",
                    record=item if isinstance(item, dict) else None,
                )
                for place, item in enumerate(records, 1)
            ]
            link = self._link(page, url, number)
            digest = hash(tuple(raw.data for raw in raws))
            repeats = repeats + 1 if raws and digest == before else 0
            before = digest
            del page, records  # only the encoded records are held while they are written
            if repeats < MOST_REPEATS - 1:
                yield from raws
            if link is None:
                return
            if link in seen or repeats >= MOST_REPEATS - 1:
                raise IngestError(
                    f"The pages of {without_query(url)} go in circles: page {number} of the window from {begins} on "
                    f"{'links to a page that was read already' if link in seen else 'repeats the pages before it'}.",
                    remedy="Check `options.next` in the source file; if it is right, the API is at fault.",
                )
            seen.add(link)
            url, number = link, number + 1
            page = self._client.page(url)

    def _records(self, page: Any, url: str, number: int) -> list[Any]:
        records = get_path(page, self._items) if self._items else page
        if isinstance(records, list):
            return records
        if records is None and self._items and isinstance(page, dict) and number > 1:
            return []  # a last page may leave the empty list out
        if records is None and self._items and isinstance(page, dict) and get_path(page, "size") == 0:
            return []  # PingOne's answer when nothing was recorded
        raise IngestError(
            f"Page {number} of {without_query(url)} has no list of records at {self._items or 'its top level'!r} "
            f"({_described(page)}).",
            remedy="Write the dotted path of the list into `options.items`.",
        )

    def _link(self, page: Any, url: str, number: int) -> str | None:
        href = get_path(page, self._next) if self._next and isinstance(page, dict) else None
        if href is None or href == "":
            return None
        if not isinstance(href, str):
            raise IngestError(
                f"Page {number} of {without_query(url)} has {_described(href)} at {self._next!r} instead of a link.",
                remedy="Write the dotted path of the link into `options.next`.",
            )
        return self._client.link(url, href)


def _bounds(window: Window) -> list[tuple[str, datetime]]:
    return [("start", window.start), ("end", window.end)]


def _cut(partition: Partition, length: timedelta) -> list[Window]:
    windows = []
    start = partition.start
    while start < partition.end:
        end = min(start + length, partition.end)
        windows.append(Window(start, end))
        start = end
    return windows


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, list(value)[:8])) or 'no keys'}"
    return f"a {type(value).__name__}"

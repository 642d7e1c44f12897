"""The file that a trained model travels in: definition, configuration and card, each with its checksum.

A ZIP archive with four members: `manifest.json` (what it is, and the SHA-256 of the others), `model.json` (the
configuration), `card.json` (the model card with the drift baseline), `definition.json.gz` (as Elasticsearch keeps it,
never unpacked here). The same model gives the same bytes.
"""

import base64
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import IO, Any

from elastic_ml.exceptions import NotReadyError

FORMAT = 1
MANIFEST, MODEL, CARD, DEFINITION = "manifest.json", "model.json", "card.json", "definition.json.gz"
LARGEST_TEXT = 64 * 2**20
PIECE = 3 * 2**18
"""Bytes at a time; of base64 four characters stand for three bytes, so pieces are decoded one by one."""


def storage_path(folder: str, name: str = "") -> Any:
    """Return a path in local or object storage, such as `s3://aws_default@models/` (the connection stands before `@`).

    :raises NotReadyError: no folder is configured, or the name would leave it.
    """
    from airflow.sdk import ObjectStoragePath

    if not folder:
        raise NotReadyError(
            "No folder for exported models is configured.",
            remedy="Set `[elastic_ml] exchange_folder` in Airflow's configuration, such as "
            "s3://aws_default@models/ or file:///srv/models/.",
        )
    if "/" in name or "\\" in name or name.startswith("."):
        raise NotReadyError(f"{name!r} is no file name.", remedy="Give the name of a file in the exchange folder.")
    path = ObjectStoragePath(folder)
    return path / name if name else path


def write_archive(
    target: Any, *, about: Mapping[str, Any], model: Mapping[str, Any], card: Mapping[str, Any], definition: str
) -> str:
    """Write the archive so that nobody ever sees a part of it; returns its SHA-256.

    Written beside its place and moved there: an object storage file that is closed by an error is published as it is.

    :param target: see `storage_path`.
    :param definition: `compressed_definition` as the API gives it: gzip in base64.
    """
    texts = {name: _dump(content) for name, content in ((MODEL, model), (CARD, card))}
    sums = {name: sha256(text).hexdigest() for name, text in texts.items()}
    sums[DEFINITION] = _digest(_decoded(definition))
    manifest = {"format": FORMAT, **about, "sha256": sums}
    digest = sha256(_dump(manifest)).hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.{digest[:8]}.partial"
    try:
        with partial.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, text in ((MANIFEST, _dump(manifest)), *texts.items()):
                _add(archive, name, [text], zipfile.ZIP_DEFLATED)
            _add(archive, DEFINITION, _decoded(definition), zipfile.ZIP_STORED)
        written = file_digest(partial)
        partial.fs.mv(partial.path, target.path)
    except BaseException:
        if partial.exists():
            partial.unlink()
        raise
    return written


def file_digest(path: Any) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return _digest(iter(lambda: stream.read(PIECE), b""))


class Archive:
    """An archive that is read: its manifest is checked at once, a member when it is asked for.

    :param stream: seekable, binary.
    :param name: for sentences.
    :raises NotReadyError: it is no such archive, or of a newer format.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name = name
        try:
            self._archive = zipfile.ZipFile(stream)
            self.manifest = dict(json.loads(self._text(MANIFEST)))
            version = int(self.manifest["format"])
            self._sums = dict(self.manifest["sha256"])
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, OSError) as error:
            raise NotReadyError(
                f"{name} is no exported model ({type(error).__name__}: {error}).", remedy="Export the model again."
            ) from error
        if version > FORMAT:
            raise NotReadyError(
                f"{name} has format {version}, and this package reads up to {FORMAT}.",
                remedy="Upgrade airflow-provider-elastic-ml here.",
            )

    @property
    def model(self) -> dict[str, Any]:
        """The model's configuration, as `_ml/trained_models` takes it."""
        return self._object(MODEL)

    @property
    def card(self) -> dict[str, Any]:
        """The model's card where it was exported."""
        return self._object(CARD)

    @property
    def definition(self) -> str:
        """The definition as `compressed_definition`, its checksum compared."""
        digest = sha256()
        encoded: list[bytes] = []
        with self._read(DEFINITION) as member:
            while piece := member.read(PIECE):
                digest.update(piece)
                encoded.append(base64.b64encode(piece))
        self._compare(DEFINITION, digest.hexdigest())
        return b"".join(encoded).decode()

    def _object(self, name: str) -> dict[str, Any]:
        text = self._text(name)
        self._compare(name, sha256(text).hexdigest())
        return dict(json.loads(text))

    def _text(self, name: str) -> bytes:
        size = self._archive.getinfo(name).file_size
        if size > LARGEST_TEXT:
            raise ValueError(f"{name} has {size} bytes")
        with self._read(name) as member:
            return member.read(LARGEST_TEXT)

    def _read(self, name: str) -> IO[bytes]:
        return self._archive.open(name)

    def _compare(self, name: str, digest: str) -> None:
        if self._sums.get(name) != digest:
            raise NotReadyError(
                f"{name} in {self.name} is not what was exported: its checksum differs.",
                remedy="Copy the file again, or export the model again.",
            )


def same_definition(one: str, other: str) -> bool:
    """Whether two compressed definitions are the same, however they were packed and written."""
    if one == other:
        return True
    import gzip

    unpacked = [gzip.decompress(base64.b64decode(packed)) for packed in (one, other)]
    return unpacked[0] == unpacked[1] or json.loads(unpacked[0]) == json.loads(unpacked[1])


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False).encode()


def _decoded(definition: str) -> Iterator[bytes]:
    step = PIECE // 3 * 4
    for start in range(0, len(definition), step):
        yield base64.b64decode(definition[start : start + step])


def _digest(pieces: Iterator[bytes]) -> str:
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _add(archive: zipfile.ZipFile, name: str, pieces: Iterable[bytes], compression: int) -> None:
    # Without a time of its own, so that the same model gives the same bytes.
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.compress_type = compression
    with archive.open(member, "w", force_zip64=True) as stream:
        for piece in pieces:
            stream.write(piece)

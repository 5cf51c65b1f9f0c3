"""The content of a split's Arrow file: its columns and, in its schema, the metadata with the classes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from tce_core import VOID
from tce_core.errors import UserError

VERSION = 1
METADATA_KEY = b"tce"
DIGEST_BYTES = 32


@dataclass(frozen=True)
class ClassInfo:
    """One class: its label id (0..K-1), its name, and its RGB colour in pictures (0..255 each)."""

    id: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Metadata:
    """The description of a split, stored as JSON in the Arrow schema."""

    split: str
    """`train`, `val` or `test`."""
    classes: tuple[ClassInfo, ...]
    source: str
    """Where the data came from, in words."""


def parse_classes(raw: object, where: str) -> tuple[ClassInfo, ...]:
    """Return the classes of parsed JSON, in the order of their ids.

    Args:
        raw: a list of `{"id", "name", "color"}`, in any order.
        where: the start of error messages, such as the path of the file.

    Raises:
        UserError: the ids are not 0..K-1 with 1 <= K <= 255, a name is empty or used twice, or a colour is not three
            integers in 0..255.
    """
    if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
        raise UserError(f'{where}: "classes" must be a list of objects with "id", "name" and "color"')
    return check_classes(sorted((_parse_class(entry, where) for entry in raw), key=lambda info: info.id), where)


def _parse_class(entry: dict[str, Any], where: str) -> ClassInfo:
    identity, name, color = (entry.get(key) for key in ("id", "name", "color"))
    if type(identity) is not int:
        raise UserError(f"{where}: class id {identity!r} must be an integer, the label id in the masks")
    if not isinstance(name, str) or not name:
        raise UserError(f"{where}: the name {name!r} of class {identity} must be a non-empty text")
    if not isinstance(color, list) or len(color) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in color):
        raise UserError(f"{where}: the color {color!r} of class {name!r} must be three integers in 0..255")
    return ClassInfo(identity, name, (color[0], color[1], color[2]))


def check_classes(classes: Sequence[ClassInfo], where: str) -> tuple[ClassInfo, ...]:
    """Return the same classes as a tuple.

    Args:
        classes: the K classes in the order of their ids.
        where: the start of error messages.

    Raises:
        UserError: the ids are not 0..K-1 in order, K is not in 1..255, or a name is used twice.
    """
    if not 1 <= len(classes) <= VOID:
        raise UserError(f"{where}: {len(classes)} classes; there must be 1..{VOID}, because label {VOID} is void")
    ids = [info.id for info in classes]
    if ids != list(range(len(classes))):
        wrong = next(i for place, i in enumerate(ids) if i != place)
        raise UserError(f"{where}: class id {wrong} is out of place; ids must be 0..{len(ids) - 1}, each exactly once")
    names = [info.name for info in classes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where}: class name {name!r} is used more than once; names must be unique")
    return tuple(classes)


def arrow_schema(metadata: Metadata) -> pa.Schema:
    """Return the Arrow schema of a split.

    `pixels` counts the mask's pixels of each of the K classes. `digest` is the `row_digest` of the row.
    """
    text = json.dumps({"version": VERSION, **asdict(metadata)})
    columns = [
        pa.field("name", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("image", pa.large_binary(), nullable=False),
        pa.field("mask", pa.large_binary(), nullable=False),
        pa.field("pixels", pa.list_(pa.int64(), len(metadata.classes)), nullable=False),
        pa.field("digest", pa.binary(DIGEST_BYTES), nullable=False),
    ]
    return pa.schema(columns, metadata={METADATA_KEY: text.encode()})


def read_metadata(schema: pa.Schema, where: str) -> Metadata:
    """Return the metadata of an Arrow file's schema.

    Args:
        schema: the schema of the file.
        where: the start of error messages, such as the path of the file.

    Raises:
        UserError: the file is not a split of this version, or its metadata is damaged.
    """
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise UserError(f"{where}: an Arrow file, but not a split of a data set; use `python -m tce_core.data.convert`")
    try:
        stored = json.loads(text)
        version, split, source, classes = (stored[key] for key in ("version", "split", "source", "classes"))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{where}: its metadata is damaged ({error}); convert the data set again") from error
    if version != VERSION:
        raise UserError(f"{where}: format version {version!r}, but this program reads version {VERSION}; convert again")
    metadata = Metadata(split, parse_classes(classes, where), source)
    if not schema.equals(arrow_schema(metadata)):
        raise UserError(f"{where}: its columns {schema.names} are not those of format version {VERSION}; convert again")
    return metadata


def row_digest(name: str, size: tuple[int, ...], image: bytes, mask: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) of one row: its name, its size (H, W), and the bytes of its image and mask."""
    digest = hashlib.sha256(json.dumps([name, *size]).encode())
    digest.update(image)
    digest.update(mask)
    return digest.digest()


def fingerprint(classes: Sequence[ClassInfo], digests: bytes) -> str:
    """Return the SHA-256 (64 hex digits) of a split: its classes and the joined digests of its rows, in order."""
    text = json.dumps([asdict(info) for info in classes])
    return hashlib.sha256(text.encode() + digests).hexdigest()

"""Make an .mlpackage deterministic: the same network gives the same bytes.

coremltools names each item in ``Manifest.json`` by a random UUID; here the UUID is derived from the item's path, which
is unique in a package. It also writes the date of the conversion into the description, and files that other users
cannot read.

Format: https://apple.github.io/coremltools/docs-guides/source/convert-to-ml-program.html
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

_MANIFEST = "Manifest.json"
_DATE = "com.github.apple.coremltools.conversion_date"


def make_deterministic(path: Path) -> None:
    """Derive the identifiers of a package's items from their paths, and copy the manifest's mode to its files."""
    manifest = path / _MANIFEST
    document = json.loads(manifest.read_bytes())
    items, root = document["itemInfoEntries"], document["rootModelIdentifier"]
    document["itemInfoEntries"] = {_identifier(item): item for item in items.values()}
    document["rootModelIdentifier"] = _identifier(items[root])
    manifest.write_text(json.dumps(document, indent=4, sort_keys=True) + "\n")
    for member in path.rglob("*"):
        shutil.copymode(path if member.is_dir() else manifest, member)


def to_bytes(spec: Any) -> bytes:
    """Serialise a ``Model`` message without the date of its conversion, its maps sorted by key."""
    spec.description.metadata.userDefined.pop(_DATE, None)
    return bytes(spec.SerializeToString(deterministic=True))


def _identifier(item: dict[str, str]) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"]))

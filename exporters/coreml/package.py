"""What coremltools leaves to chance in an .mlpackage, settled: the same network gives the same bytes.

``Manifest.json`` names each item by a random UUID; here it is derived from the item's path, which is unique in a
package. The description has the day of the conversion, and the files have modes that keep other users out.

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


def settle(path: Path) -> None:
    """Give a package's items identifiers of their paths, and its files the modes of its manifest."""
    manifest = path / _MANIFEST
    document = json.loads(manifest.read_bytes())
    items, root = document["itemInfoEntries"], document["rootModelIdentifier"]
    document["itemInfoEntries"] = {_identifier(item): item for item in items.values()}
    document["rootModelIdentifier"] = _identifier(items[root])
    manifest.write_text(json.dumps(document, indent=4, sort_keys=True) + "\n")
    for member in path.rglob("*"):
        shutil.copymode(path if member.is_dir() else manifest, member)


def to_bytes(spec: Any) -> bytes:
    """A ``Model`` message as its file has it: without the day of its conversion, its maps in order of their keys."""
    spec.description.metadata.userDefined.pop(_DATE, None)
    return bytes(spec.SerializeToString(deterministic=True))


def _identifier(item: dict[str, str]) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"]))

"""Keys of an artifact's own metadata, and the version of the documents that describe artifacts."""

from __future__ import annotations

SCHEMA_VERSION = 2
"""Version of the manifest and of every ``--json`` document; it grows when a field changes its meaning."""

METADATA_KEY = "evim_deploy.manifest"
"""Key of the manifest, as JSON."""

LABELS_KEY = "evim_deploy.labels"
"""Key of the class labels, a JSON list."""

MANIFEST_SUFFIX = ".json"
"""Added to an artifact's name, names the manifest beside it."""

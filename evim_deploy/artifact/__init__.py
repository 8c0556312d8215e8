"""One artifact: its target, its signature, the record of its proof, and the manifest with all of them.

It owns the manifest's schema. It imports ``common``, ``images``, ``catalog``, ``formats`` and ``graph``.
"""

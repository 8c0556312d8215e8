"""The choices of a user: models by name, class labels, and the closed sets of words in options and manifests.

It owns names and enums, and opens no network. It imports ``common`` and ``images``.
"""

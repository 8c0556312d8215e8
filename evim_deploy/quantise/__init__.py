"""Fewer bits for weights and values: how they are stored, which values are rounded, and to what, found on data."""

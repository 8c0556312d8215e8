"""Latency: what is measured, and on what machine."""

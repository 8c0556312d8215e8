"""The network as a graph: its operations, their definition and evaluation, and the exact rewrites.

Owns what each operation means, and how values and weights are quantised or rounded to half precision.
Imports ``common`` alone.
"""

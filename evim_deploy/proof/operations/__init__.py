"""Comparison of an artifact with its model operation by operation: the first that diverges, and the likely cause.

May import common, images, graph, artifact and networks; the engines' traces are passed in.
"""

"""Quantisation: the scheme of each precision, calibration on images, and the layers that stay in floating point.

It turns a rewritten graph into a quantised graph, which every exporter writes and every check simulates.
It may import common, catalog, images, graph and artifact.
"""

"""Comparison of an artifact's outputs with its model's: inputs, differences, tolerances, sensitivity of the check.

May import common, images, catalog, artifact and networks; knows no engine and no operation of a file.
"""

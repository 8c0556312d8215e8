"""Inspection of model files: their operations and weights, and each backend's rules, which have a reason and a source.

May import common, formats and artifact; runs nothing.
"""

from evim_deploy.inspection.inspection import BACKENDS, FunctionInspection, Inspection, Suitability, inspect

__all__ = ["BACKENDS", "FunctionInspection", "Inspection", "Suitability", "inspect"]

"""An artifact beside its reference, operation by operation: which is the first that diverges, and why."""

from evim_deploy.proof.operations.compare import compare
from evim_deploy.proof.operations.report import Layer, LayerReport, Stage

__all__ = ["Layer", "LayerReport", "Stage", "compare"]

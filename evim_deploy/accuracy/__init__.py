"""How often artifacts are right, on images whose classes are known."""

from evim_deploy.accuracy.classes import RULES
from evim_deploy.accuracy.evaluation import Evaluation, Evaluator, Result
from evim_deploy.accuracy.result import Accuracy

__all__ = ["RULES", "Accuracy", "Evaluation", "Evaluator", "Result"]

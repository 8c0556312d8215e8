"""Evaluation of artifacts on labelled images: data, predictions, and statistics of accuracy and agreement.

May import common, images, catalog, formats, artifact, networks, runtimes and proof; knows no exporter and no command.
"""

from evim_deploy.accuracy.classes import RULES
from evim_deploy.accuracy.evaluation import Evaluation, EvaluationResult, Evaluator
from evim_deploy.accuracy.result import Accuracy

__all__ = ["RULES", "Accuracy", "Evaluation", "EvaluationResult", "Evaluator"]

"""The harder model: its pictures are the same everywhere, and it reads most of them, but not all."""

from __future__ import annotations

import hashlib

import glyphs
import numpy as np

from evim_deploy.catalog.variants import parse_model
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.weights import resolve
from training.fit import accuracy, as_an_app_feeds_it
from training.glyphs import CLASSES, HELD_OUT, TRAINED

PICTURES = "f9fd85989cd6ed73226334ae6fa17241177de75ee6630d233cfc3c41fcd729ce"
"""SHA-256 of the held-out pixels."""


def loaded() -> EfficientViM:
    return resolve(parse_model("digits"), str(glyphs.WEIGHTS), len(CLASSES), print)[0]


def test_no_family_is_on_both_sides() -> None:
    assert not {*HELD_OUT} & {*TRAINED}
    assert len(set(CLASSES)) == len(CLASSES) == 45


def test_the_pictures_are_the_same_everywhere() -> None:
    pictures, labels = glyphs.held_out()
    assert pictures.shape == (1080, 64, 64, 3)
    assert np.bincount(labels).tolist() == [24] * len(CLASSES)
    assert hashlib.sha256(pictures.tobytes()).hexdigest() == PICTURES


def test_it_is_harder_than_digits() -> None:
    pictures, labels = glyphs.held_out()
    share = accuracy(loaded(), as_an_app_feeds_it(pictures), labels)
    assert 0.90 <= share <= 0.97


def test_the_accuracy_sees_wrong_labels_and_a_wrong_weight() -> None:
    model = loaded()
    pictures, labels = glyphs.held_out()
    assert accuracy(model, pictures, np.random.default_rng(0).permutation(labels)) < 0.1
    right = accuracy(model, pictures, labels)
    model.stages[0].blocks[0].mixer.out_proj.conv.weight.data.mul_(-4)
    assert accuracy(model, pictures, labels) < right - 0.02  # four times what the gate of quantised files allows


def test_the_files_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in glyphs.FOLDER.iterdir()}
    assert sizes.pop(glyphs.WEIGHTS.name) < 2e6
    assert sum(sizes.values()) < 1e6

"""The comparator on cases worked out by hand, and that it tells a wrong artifact from a right one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from networks import random_network, random_tiny, tiny

import exporters
import runtimes
from evim_deploy import parity, photographs
from evim_deploy.artifact import Target
from evim_deploy.graph import Graph
from evim_deploy.lowering import FEATURE_OUTPUTS, lower
from evim_deploy.model import EfficientViM
from evim_deploy.parity import TOLERANCES, Difference, check
from evim_deploy.preprocessing import normalise
from evim_deploy.reparam import reparameterise
from evim_deploy.untrained import untrained_model
from evim_deploy.variants import MODELS, VARIANTS, ModelName
from evim_deploy.weights import state_sha256

Array = npt.NDArray[np.float32]

Size = tuple[int | None, int | None]

CLASSES = 10


def array(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


# --- one difference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "actual", "expected"),
    [
        (array(1, -4, 2), array(1, -4, 2), 0),
        (array(1, -4, 2), array(1, -4, 3), 1 / 4),  # in units of the largest magnitude
        (array(1, -4, 2), array(1, -2, 2), 2 / 4),
        (array(1, -4, 2), array(9, -4, 2), 2),
        (array(0.5), array(0.25), 1 / 2),
        (array(2, 2), array(2, -2), 2),
        (array(0, 0), array(0, 0), 0),
        (array(0, 0), array(0, 3), 3),  # nothing to be relative to
        (array(1e-30, 2e-30), array(1e-30, 1e-30), 1 / 2),
        (array(1), array(math.nan), math.inf),
        (array(1), array(math.inf), math.inf),
        (array(1), array(-math.inf), math.inf),
        (array(math.nan), array(1), math.inf),
        (array(math.inf), array(math.inf), math.inf),  # equal, and no reference to trust
        (array(math.nan), array(math.nan), math.inf),
    ],
)
def test_difference(reference: Array, actual: Array, expected: float) -> None:
    assert Difference.of(reference, actual).max_abs == pytest.approx(expected, rel=1e-6, abs=0)


def test_the_largest_difference_counts_wherever_it_is() -> None:
    reference = np.zeros((2, 3, 4, 5), dtype=np.float32)
    reference[0, 0, 0, 0] = -8
    actual = reference.copy()
    actual[1, 2, 3, 4] = 1
    assert Difference.of(reference, actual).max_abs == 1 / 8


def test_a_difference_below_float32_is_seen() -> None:
    assert Difference.of(array(1), np.array([1 + 1e-10])).max_abs == pytest.approx(1e-10, rel=1e-5)


@pytest.mark.parametrize("shape", [(2,), (1, 3), (3, 1), ()])
def test_other_shapes_are_no_difference_but_a_mistake(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        Difference.of(array(1, 2, 3), np.ones(shape, dtype=np.float32))


# --- the check, with a session that is told what to answer ---------------------------------------------


def tiny_model(seed: int = 0, **overrides: Any) -> EfficientViM:
    return random_tiny(seed, CLASSES, **overrides).float()


def target_of(output: str = "logits", precision: str = "fp32", size: Size = (64, 64), batch: int | None = 1) -> Target:
    task = "features" if output == "features" else "classify"
    height, width = size
    return Target("onnx", precision, height, width, batch, task, output, True, ())


class Exact:
    """Answers with the reference itself, and remembers the shapes that it was asked for."""

    def __init__(self, model: EfficientViM, target: Target, change: Callable[[Array], Array] = lambda x: x) -> None:
        self.model, self.target, self.change = model, target, change
        self.shapes: list[tuple[int, ...]] = []
        self.seen: list[Array] = []

    def run(self, image: Array) -> dict[str, Array]:
        self.shapes.append(image.shape)
        self.seen.append(image)
        tensor = torch.from_numpy(normalise(image) if self.target.preprocess else image)
        with torch.no_grad():
            if self.target.task == "features":
                maps = self.model.features(tensor)
                return {n: self.change(m.numpy()) for n, m in zip(FEATURE_OUTPUTS, maps, strict=True)}
            logits = self.change(self.model(tensor).numpy())
        if self.target.output == "logits":
            return {"logits": logits}
        return {"probabilities": torch.softmax(torch.from_numpy(logits), 1).numpy()}


@pytest.mark.parametrize("output", ["logits", "features"])
@pytest.mark.parametrize("precision", TOLERANCES)
def test_an_exact_artifact_passes(output: str, precision: str) -> None:
    model, target = tiny_model(), target_of(output, precision)
    result = check(model, Exact(model, target), target, 64)
    assert (result.status, result.max_abs, result.tolerance) == ("pass", 0, TOLERANCES[precision])
    assert result.engine is None
    assert result.reason == "6 images, photographs and noise"


def moved(by: float, axis: tuple[int, ...] = (0, 3)) -> Callable[[Array], Array]:
    """One value moved by a part of the largest magnitude."""

    def change(values: Array) -> Array:
        values = values.copy()
        values[axis] += by * np.abs(values).max() * (1 if values[axis] < 0 else -1)
        return values

    return change


@pytest.mark.parametrize(("times", "status"), [(0.98, "pass"), (1.02, "fail")])
@pytest.mark.parametrize("precision", TOLERANCES)
def test_the_tolerance_is_where_it_says(precision: str, times: float, status: str) -> None:
    model, target = tiny_model(), target_of(precision=precision)
    session = Exact(model, target, moved(times * TOLERANCES[precision]))
    result = check(model, session, target, 64)
    assert result.status == status
    assert result.max_abs == pytest.approx(times * TOLERANCES[precision], rel=1e-2)


@pytest.mark.parametrize("index", range(6))
def test_one_wrong_image_of_six_fails(index: int) -> None:
    model, target = tiny_model(), target_of()
    session = Exact(model, target)
    session.change = lambda values: moved(0.1)(values) if len(session.shapes) == index + 1 else values
    assert check(model, session, target, 64).status == "fail"


@pytest.mark.parametrize("stride", FEATURE_OUTPUTS)
def test_one_wrong_map_of_three_fails(stride: str) -> None:
    model, target = tiny_model(), target_of("features")

    class OneWrong(Exact):
        def run(self, image: Array) -> dict[str, Array]:
            maps = super().run(image)
            return {**maps, stride: moved(0.01, (0, 3, 0, 0))(maps[stride])}

    assert check(model, OneWrong(model, target), target, 64).status == "fail"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_fails(value: float) -> None:
    def change(values: Array) -> Array:
        values = values.copy()
        values[0, 0] = value
        return values

    model, target = tiny_model(), target_of()
    result = check(model, Exact(model, target, change), target, 64)
    assert (result.status, result.max_abs) == ("fail", math.inf)


def test_an_output_of_another_shape_does_not_pass() -> None:
    model, target = tiny_model(), target_of()
    with pytest.raises(ValueError, match="shapes differ"):
        check(model, Exact(model, target, lambda values: values[:, :-1]), target, 64)


def test_a_missing_output_does_not_pass() -> None:
    model, target = tiny_model(), target_of()
    session = Exact(model, target)
    session.target = target_of("probabilities")
    with pytest.raises(KeyError):
        check(model, session, target, 64)


# --- probabilities -----------------------------------------------------------------------------------------


def confident_model() -> EfficientViM:
    """A network whose probabilities are all but 0 and 1."""
    return with_logits_times(10)


def with_logits_times(gain: float) -> EfficientViM:
    model = tiny_model()
    for path, parameter in model.named_parameters():
        if path.startswith("heads") and path.endswith("weight"):
            parameter.data *= gain
    return model


def test_probabilities_pass_as_the_logits_that_they_stand_for() -> None:
    model, target = confident_model(), target_of("probabilities")
    result = check(model, Exact(model, target), target, 64)
    assert result.status == "pass"
    assert result.max_abs is not None
    assert 0 < result.max_abs < 1e-5


def test_a_shift_of_all_logits_is_none_to_a_softmax() -> None:
    model, target = tiny_model(), target_of("probabilities")
    assert check(model, Exact(model, target, lambda values: values + 3), target, 64).status == "pass"


def test_a_wrong_logit_shows_where_its_probability_is_next_to_nothing() -> None:
    """Compared as probabilities, this artifact would pass."""
    model, target = confident_model(), target_of("probabilities")
    largest = 0.0

    def change(values: Array) -> Array:
        nonlocal largest
        found = values.copy()
        found[0, values[0].argmin()] += 0.02 * np.abs(values).max()
        before, after = (torch.softmax(torch.from_numpy(logits), 1) for logits in (values, found))
        largest = max(largest, (before - after).abs().max().item())
        return found

    result = check(model, Exact(model, target, change), target, 64)
    assert result.status == "fail"
    assert largest < 0.1 * TOLERANCES["fp32"]


def test_probabilities_that_vanish_in_float32_are_no_failure() -> None:
    """With logits 110 apart the least probability is 0 in float32, and no artifact could say more."""
    model, target = with_logits_times(100), target_of("probabilities")
    assert check(model, Exact(model, target), target, 64).status == "pass"


# --- sizes and batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(1, [1] * 6), (2, [2] * 3), (4, [4] * 2), (6, [6]), (8, [8]), (None, [6])],
)
def test_images_come_in_the_batches_that_an_artifact_takes(batch: int | None, expected: list[int]) -> None:
    model, target = tiny_model(), target_of(batch=batch)
    session = Exact(model, target)
    result = check(model, session, target, 64)
    assert result.status == "pass"
    assert [shape[0] for shape in session.shapes] == expected
    images = np.concatenate(session.seen)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 6  # filled up from the first


@pytest.mark.parametrize("batch", [1, 4, None])
def test_a_wrong_last_image_of_any_batch_fails(batch: int | None) -> None:
    model, target = tiny_model(), target_of(batch=batch)
    assert check(model, Exact(model, target, moved(0.1, (-1, 3))), target, 64).status == "fail"


def test_a_dynamic_artifact_is_checked_at_two_sizes_one_not_square() -> None:
    model, target = tiny_model(), target_of(size=(None, None))
    session = Exact(model, target)
    result = check(model, session, target, 96)
    sides = [shape[2:] for shape in session.shapes]
    assert sides == [(96, 96)] * 6 + [(160, 224)] * 6
    assert result.reason.startswith("12 images")


def test_an_artifact_wrong_at_the_other_size_fails() -> None:
    model, target = tiny_model(), target_of(size=(None, None))
    session = Exact(model, target)
    session.change = lambda values: values if session.shapes[-1][2:] == (96, 96) else moved(0.1)(values)
    assert check(model, session, target, 96).status == "fail"


def test_large_images_are_two() -> None:
    model, target = tiny_model(depths=(1, 1, 1)), target_of(size=(1024, 1024))
    session = Exact(model, target)
    assert check(model, session, target, 64).reason.startswith("2 images")
    assert [shape[2:] for shape in session.shapes] == [(1024, 1024)] * 2


@pytest.mark.parametrize("size", [(48, 80), (33, 64)])
def test_images_are_photographs_and_noise_in_pixels(size: tuple[int, int]) -> None:
    model, target = tiny_model(), target_of(size=size, batch=None)
    session = Exact(model, target)
    check(model, session, target, 64)
    (images,) = session.seen
    assert images.shape == (6, 3, *size)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert 250 < images.max() <= 255
    shots = np.stack([photographs.load(name, *size) for name in photographs.NAMES]).transpose(0, 3, 1, 2)
    assert np.array_equal(images[:4], shots)
    assert images[4:].std() == pytest.approx(255 / math.sqrt(12), rel=0.05)  # uniform


def test_a_normalised_input_is_fed_normalised() -> None:
    model = tiny_model()
    target = Target("onnx", "fp32", 64, 64, 1, "classify", "logits", False, ())
    session = Exact(model, target)
    assert check(model, session, target, 64).status == "pass"
    assert max(np.abs(image).max() for image in session.seen) < 3


# --- negative control: the artifact's own file is changed ----------------------------------------------


@pytest.fixture(scope="module")
def network() -> tuple[EfficientViM, Graph]:
    model = random_network(tiny(4, depths=(1, 1, 1)), 4, CLASSES)
    graph, _ = reparameterise(lower(model, "classify", "logits", True))
    return model.float(), graph


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, network: tuple[EfficientViM, Graph]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    paths = {}
    for name in ("onnx", "tflite"):
        row = exporters.FORMATS[name]
        paths[name] = folder / f"sound{row.suffix}"
        exporters.load(row).build(network[1], target_of(size=(48, 80)), paths[name])
    return paths


def checked(path: Path, model: EfficientViM) -> str:
    with runtimes.open_artifact(path) as session:
        return check(model, session, target_of(size=(48, 80)), 64).status


@pytest.mark.parametrize("format_", ["onnx", "tflite"])
def test_a_sound_artifact_passes(format_: str, artifacts: dict[str, Path], network: tuple[EfficientViM, Graph]) -> None:
    assert checked(artifacts[format_], network[0]) == "pass"


CHANGED = (
    "patch_embed.conv.0.conv",
    "stages.0.blocks.0.mixer.BCdt_proj",
    "stages.1.blocks.0.mixer.out_proj",
    "stages.2.blocks.0.ffn.fc1.conv",
    "stages.0.downsample.conv.3.conv",
)


@pytest.mark.parametrize("name", CHANGED)
def test_one_changed_weight_of_an_onnx_file_fails(
    tmp_path: Path, artifacts: dict[str, Path], network: tuple[EfficientViM, Graph], name: str
) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(artifacts["onnx"])
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == f"{name}.kernel"]
    tensor.CopyFrom(numpy_helper.from_array(with_one_changed(numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, tmp_path / "changed.onnx")
    assert checked(tmp_path / "changed.onnx", network[0]) == "fail"


@pytest.mark.parametrize("name", CHANGED)
def test_one_changed_weight_of_a_tflite_file_fails(
    tmp_path: Path, artifacts: dict[str, Path], network: tuple[EfficientViM, Graph], name: str
) -> None:
    """The weight is found in the file by its values."""
    (node,) = [node for node in network[1].nodes if node.name == name]
    kernel = node.weights["kernel"].astype(np.float32)
    kernel = kernel.reshape(*kernel.shape[:2], -1).transpose(0, 2, 1)  # (O, taps, I), as a CONV_2D keeps it
    content = artifacts["tflite"].read_bytes()
    before = kernel.tobytes()
    assert content.count(before) == 1
    path = tmp_path / "changed.tflite"
    path.write_bytes(content.replace(before, with_one_changed(kernel).tobytes()))
    assert checked(path, network[0]) == "fail"


def with_one_changed(kernel: Array) -> Array:
    """Its first weight doubled and moved by the standard deviation of all."""
    kernel = kernel.copy()
    kernel.flat[0] = 2 * kernel.flat[0] + 2 * kernel.std()
    return kernel


# --- seeded weights that a check means something on ----------------------------------------------------


def logits_of_photographs(model: EfficientViM) -> Array:
    """(photographs, classes)"""
    side = model.variant.resolution
    shots = np.stack([photographs.load(name, side, side) for name in photographs.NAMES]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return model(torch.from_numpy(normalise(shots.astype(np.float32)))).numpy()


def variation(logits: Array) -> float:
    """How far two photographs' logits lie apart, in units of the spread of all logits."""
    return float(logits.std(axis=0).mean() / logits.std())


@pytest.mark.parametrize(
    ("name", "seed"),
    [("efficientvim_m1", 0), ("efficientvim_m1", 1), ("efficientvim_m1_dist", 2), ("efficientvim_m4", 0)],
)
def test_untrained_logits_depend_on_the_image(name: str, seed: int) -> None:
    logits = logits_of_photographs(untrained_model(MODELS[name], 1000, seed))
    assert variation(logits) > 0.3
    assert 3 < np.abs(logits).max() < 30  # as large as a trained model's


def test_variation_sees_what_does_not_depend_on_the_image() -> None:
    same = np.tile(np.linspace(-1, 1, 100, dtype=np.float32), (4, 1))
    assert variation(same) == 0
    model = untrained_model(MODELS["efficientvim_m1"], 100, 0)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):  # statistics drawn at random: what field-notes.md warns of
            norm.get_buffer("running_mean").normal_(generator=torch.Generator().manual_seed(0))
            norm.get_buffer("running_var").uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    assert variation(logits_of_photographs(model)) < 0.3


GOLDEN = {
    ("m1", False, 0): "819dd804e3eb1a802ed0d67d9b7e2458a8121386412d295ff30ddb867fed3144",
    ("m4", False, 0): "9ab397a8378e04f460e2ff6f5a505419398e15bf1facf30488d365e4b723d50e",
}


@pytest.mark.parametrize(("variant", "distilled", "seed"), GOLDEN)
def test_a_seed_gives_the_same_weights_on_every_machine(variant: str, distilled: bool, seed: int) -> None:
    """A change here changes every artifact that says ``random:SEED``: it belongs in the change log."""
    model = untrained_model(ModelName(VARIANTS[variant], distilled), 1000, seed)
    assert state_sha256(model) == GOLDEN[variant, distilled, seed]


def test_other_seeds_give_other_weights() -> None:
    name = ModelName(tiny(0))
    hashes = {state_sha256(untrained_model(name, CLASSES, seed)) for seed in (0, 1, 2, 2**32 - 1)}
    assert len(hashes) == 4


@pytest.mark.parametrize("name", [ModelName(VARIANTS["m1"]), ModelName(tiny(0), True), ModelName(tiny(1))], ids=str)
def test_the_number_of_threads_changes_no_bit(name: ModelName) -> None:
    """Threads order the sums of the statistics otherwise, and the rounding hides it."""
    before = torch.get_num_threads()
    hashes = set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            hashes.add(state_sha256(untrained_model(name, CLASSES, 3)))
    finally:
        torch.set_num_threads(before)
    assert len(hashes) == 1


@pytest.mark.parametrize("output", ["logits", "probabilities"])
@pytest.mark.parametrize("seed", range(3))
def test_untrained_weights_bear_fp16(tmp_path: Path, seed: int, output: str) -> None:
    """Rounding stays well under the tolerance, and is there."""
    model = untrained_model(MODELS["efficientvim_m1"], 1000, seed)
    graph, _ = reparameterise(lower(model, "classify", output, True))
    target = target_of(output, "fp16", (96, 160), None)
    path = tmp_path / "half.onnx"
    exporters.load(exporters.FORMATS["onnx"]).build(graph, target, path)
    with runtimes.open_artifact(path) as session:
        result = check(model, session, target, 224)
    assert result.max_abs is not None
    assert TOLERANCES["fp32"] < result.max_abs < 0.75 * TOLERANCES["fp16"]


def test_the_tolerances_tell_the_precisions_apart() -> None:
    assert parity.TOLERANCES == {"fp32": 1e-4, "fp16": 2e-2}

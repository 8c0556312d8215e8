"""Fewer bits: what codes stand for, which values get them, what is found on images, and what costs most."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_tiny
from PIL import Image

from evim_deploy.artifact.quantisation import Calibration, Quantisation
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.common.errors import BadInput, UsageProblem
from evim_deploy.graph.interpreter import evaluate, round_to, run
from evim_deploy.graph.ir import RESCALED, Graph
from evim_deploy.graph.quantised import AffineQuantised, Palettised, QuantParams
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.images.preprocessing import PAPER
from evim_deploy.networks.efficientvim.lowering import lower
from evim_deploy.quantise.apply import VIEWS, layers, quantised, quantised_values
from evim_deploy.quantise.calibration import _Seen, calibrate
from evim_deploy.quantise.calibration_images import DIGITS, PHOTOGRAPHS, RECOMMENDED, CalibrationImages
from evim_deploy.quantise.encoding import Weighting
from evim_deploy.quantise.equalisation import equalised, find_exponents, pairs
from evim_deploy.quantise.qparams import EIGHT_BITS, SIXTEEN_BITS, QuantRange, choose_qparams
from evim_deploy.quantise.schemes import SCHEMES, WEIGHTED, Scheme
from evim_deploy.quantise.sensitivity import fewest_float_layers, sensitivity, with_kept
from exporters import FORMATS, parse_precision

SIDE = 64
INTEGERS = Scheme(
    weights=Weighting(bits=8), floats="fp32", meaning="all in 8 bits", integers=WEIGHTED | {"shift", "relu", "add"}
)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return reparameterise(lower(random_tiny(0).float(), "classify", "logits", preprocess=True))[0]


def photographs() -> CalibrationImages:
    return CalibrationImages(source=PHOTOGRAPHS, height=SIDE, width=SIDE, preprocessing=PAPER, preprocess=True)


@pytest.fixture(scope="module")
def qparams(graph: Graph) -> dict[str, QuantParams]:
    return calibrate(graph, INTEGERS, photographs(), pixels=True)


def snr_db(expected: torch.Tensor, found: torch.Tensor) -> float:
    return float(10 * torch.log10(expected.square().sum() / (found - expected).square().sum()))


def answers(graph: Graph) -> torch.Tensor:
    return torch.cat([evaluate(graph, torch.from_numpy(image))["logits"] for image in photographs()])


class TestGrid:
    @pytest.mark.parametrize("ends", [(-1.0, 3.0), (0.0, 6.0), (2.0, 5.0), (-7.0, -2.0), (-1e-3, 1e4), (0.0, 0.0)])
    @pytest.mark.parametrize("codes", [EIGHT_BITS, SIXTEEN_BITS, QuantRange(-127, 127, is_symmetric=True)])
    def test_reaches_its_ends_to_half_a_step_and_has_zero(self, ends: tuple[float, float], codes: QuantRange) -> None:
        grid = choose_qparams(*ends, codes)
        values = torch.tensor([0.0, *ends], dtype=torch.float64)
        assert ((round_to(grid, values) - values).abs() <= 0.51 * grid.scale).all()
        assert round_to(grid, values)[0] == 0

    def test_clips_what_is_beyond_it(self) -> None:
        grid = choose_qparams(-1, 1, EIGHT_BITS)
        assert round_to(grid, torch.tensor([-9.0, 9.0])).tolist() == pytest.approx(grid.range)

    def test_stores_its_scale_in_the_type_that_a_file_has(self) -> None:
        scale = choose_qparams(-1, 1.7, EIGHT_BITS, np.float16).scale
        # As float64: numpy compares a float16 with a Python float in float16.
        assert scale == float(np.float16(scale)) != choose_qparams(-1, 1.7, EIGHT_BITS).scale

    def test_sixteen_bits_leave_room_for_what_calibration_did_not_see(self) -> None:
        assert choose_qparams(-1, 1, SIXTEEN_BITS).range[1] > 3.9

    def test_rounding_twice_is_rounding_once(self) -> None:
        grid, values = choose_qparams(-2, 5, EIGHT_BITS), torch.randn(1000, generator=torch.Generator().manual_seed(0))
        assert torch.equal(round_to(grid, round_to(grid, values)), round_to(grid, values))


class TestEncoding:
    KERNEL = np.random.default_rng(0).normal(size=(16, 64, 3, 3)) * np.logspace(-3, 1, 16)[:, None, None, None]

    def test_eight_bits_lose_half_a_step_of_each_channel_at_the_most(self) -> None:
        encoding = Weighting(bits=8).encode(self.KERNEL)
        assert isinstance(encoding, AffineQuantised)
        assert encoding.codes.dtype == np.int8
        assert encoding.scale.shape == (16, 1, 1, 1)
        assert (np.abs(encoding.decoded() - self.KERNEL) <= 0.5 * encoding.scale * (1 + 1e-6)).all()

    def test_a_scale_for_each_block_is_better_than_one_for_the_channel(self) -> None:
        kernel = self.KERNEL * np.logspace(-1, 1, 64)[None, :, None, None]
        channel, block = (Weighting(bits=4, block=block).encode(kernel) for block in (None, 32))
        assert isinstance(block, AffineQuantised)
        assert block.scale.shape == (16, 2, 1, 1)
        assert np.abs(block.codes).max() <= 7
        lost = [np.square(each.decoded() - kernel).sum() for each in (channel, block) if each is not None]
        assert lost[1] < lost[0]

    def test_a_scale_of_four_bits_is_no_worse_than_the_one_that_reaches_the_largest(self) -> None:
        encoding = Weighting(bits=4).encode(self.KERNEL)
        assert encoding is not None
        scale = np.abs(self.KERNEL).max((1, 2, 3), keepdims=True) / 7
        plain = np.rint(self.KERNEL / scale) * scale
        lost, naive = (np.square(each - self.KERNEL).sum((1, 2, 3)) for each in (encoding.decoded(), plain))
        assert (lost <= naive * (1 + 1e-6)).all()
        assert lost.sum() < 0.95 * naive.sum()

    @pytest.mark.parametrize("bits", [4, 6, 8])
    def test_a_table_has_its_values_and_beats_even_steps(self, bits: int) -> None:
        kernel = np.random.default_rng(1).laplace(size=(8, 512))
        encoding = Weighting(bits=bits, table=True).encode(kernel)
        assert isinstance(encoding, Palettised)
        assert encoding.table.shape == (2**bits,)
        assert encoding.codes.max() < 2**bits
        steps = np.linspace(kernel.min(), kernel.max(), 2**bits)
        even = steps[np.abs(kernel[..., None] - steps).argmin(-1)]
        assert np.square(encoding.decoded() - kernel).sum() < 0.7 * np.square(even - kernel).sum()

    def test_a_table_of_more_entries_than_values_is_exact(self) -> None:
        kernel = np.array([[1.0, 2.0, 1.0, -4.0]])
        encoding = Weighting(bits=4, table=True).encode(kernel)
        assert encoding is not None
        assert np.array_equal(encoding.decoded(), kernel)

    def test_zeros_stay_zeros(self) -> None:
        encoding = Weighting(bits=8).encode(np.zeros((2, 3)))
        assert encoding is not None
        assert not encoding.decoded().any()

    def test_small_kernels_stay_as_they_are(self) -> None:
        assert Weighting(bits=8, least=64).encode(np.ones((4, 4))) is None


class TestGridded:
    def test_is_what_integer_operations_take_and_give(self, graph: Graph) -> None:
        values = quantised_values(graph, INTEGERS)
        users = {node.name: graph.sole_consumer(node.name) for node in graph.nodes if node.op in WEIGHTED}
        clipped = {name for name, user in users.items() if user is not None and user.op == "relu"}
        assert clipped
        for node in graph.nodes:
            if node.op in INTEGERS.integers:
                assert values.keys() >= {*node.inputs, *node.outputs} - clipped, node.name
        assert not values.keys() & clipped
        assert quantised_values(graph, INTEGERS).keys() >= {graph.input_name}

    def test_a_view_has_the_grid_of_what_it_shows(self, graph: Graph) -> None:
        values = quantised_values(graph, INTEGERS)
        views = [node for node in graph.nodes if node.op in VIEWS and node.inputs[0] in values]
        assert views
        for node in views:
            assert {values[output] for output in node.outputs} == {values[node.inputs[0]]}

    def test_what_is_kept_has_no_grid_of_its_own(self, graph: Graph) -> None:
        name = next(node.name for node in graph.nodes if node.op == "conv" and "dwconv1" in node.name)
        before, after = (quantised_values(graph, INTEGERS, kept) for kept in ((), layers(graph, INTEGERS)))
        assert name in before
        assert not after

    def test_a_relu_is_kept_with_what_it_clips(self, graph: Graph) -> None:
        conv = next(node for node in graph.nodes if (user := graph.sole_consumer(node.name)) and user.op == "relu")
        relu = graph.sole_consumer(conv.name)
        assert relu is not None
        others = [name for name in layers(graph, INTEGERS) if name != conv.name]
        assert relu.name in quantised_values(graph, INTEGERS, others)
        assert relu.name not in quantised_values(graph, INTEGERS, [*others, conv.name])
        assert relu.name not in layers(graph, INTEGERS)


class TestQuantised:
    def test_values_are_on_their_grids(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        values = run(quantised(graph, INTEGERS, qparams), torch.from_numpy(next(iter(photographs()))))
        for name, grid in qparams.items():
            if name in values:
                assert torch.allclose(round_to(grid, values[name]), values[name], rtol=0, atol=1e-6 * grid.scale)

    def test_answers_almost_as_in_float(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        assert 15 < snr_db(answers(graph), answers(quantised(graph, INTEGERS, qparams))) < 50

    def test_a_grid_that_is_too_coarse_is_seen(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        coarse = {n: replace(g, scale=32 * g.scale) if "residual" in n else g for n, g in qparams.items()}
        sound, wrong = (snr_db(answers(graph), answers(quantised(graph, INTEGERS, each))) for each in (qparams, coarse))
        assert wrong < sound - 6

    def test_the_graph_that_was_given_stays_as_it_is(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        before = answers(graph)
        quantised(graph, INTEGERS, qparams)
        assert torch.equal(answers(graph), before)
        assert not graph.qparams
        assert not any(node.encodings for node in graph.nodes)

    def test_sixteen_bits_lose_less_than_eight(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        fine = replace(INTEGERS, codes=SIXTEEN_BITS)
        many = quantised(graph, fine, calibrate(graph, fine, photographs(), pixels=True))
        assert snr_db(answers(graph), answers(many)) > 3 + snr_db(
            answers(graph), answers(quantised(graph, INTEGERS, qparams))
        )

    @pytest.mark.parametrize("name", [name for name, row in SCHEMES.items() if row.is_calibrated], ids=" ".join)
    def test_where_all_layers_are_kept_nothing_is_rounded(self, graph: Graph, name: tuple[str, str]) -> None:
        prepared = graph
        for prepare in SCHEMES[name].prepare:
            prepared = prepare(prepared)
        assert quantised_values(prepared, SCHEMES[name])
        assert not quantised_values(prepared, SCHEMES[name], layers(prepared, SCHEMES[name]))

    def test_kept_layers_lose_nothing(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        assert torch.equal(answers(with_kept(graph, INTEGERS, qparams, layers(graph, INTEGERS))), answers(graph))


class TestCalibration:
    def test_is_the_same_each_time(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        assert calibrate(graph, INTEGERS, photographs(), pixels=True) == qparams

    def test_pixels_are_their_own_grid(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        assert qparams[graph.input_name] == QuantParams(1.0, 0, 0, 255)

    def test_any_number_of_images_takes_no_more_memory(self, graph: Graph) -> None:
        images = (image for _ in range(20) for image in photographs())  # a generator: each is read once
        assert calibrate(graph, INTEGERS, images, pixels=True)

    def test_a_long_tail_is_clipped_where_that_loses_less(self) -> None:
        seen = _Seen(0)
        seen.add(torch.distributions.Laplace(0, 1).icdf(torch.linspace(1e-6, 1 - 1e-6, 50000)))
        assert seen.grid(INTEGERS.codes, np.float32).range[1] < 0.95 * 13
        even = _Seen(0)
        even.add(torch.linspace(-13, 13, 50000))
        assert even.grid(INTEGERS.codes, np.float32).range[1] == pytest.approx(13, rel=0.01)


def write(path: Path, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def uneven(graph: Graph) -> Graph:
    """The same network, whose channels between two convolutions differ by up to 2^10."""
    spread = {first.name: len(first.weights["kernel"]) for first, _ in pairs(graph)}
    return equalised(graph, {name: tuple(np.arange(count) % 11 - 5) for name, count in spread.items()})


class TestEqualised:
    def test_changes_nothing_but_units(self, graph: Graph, uneven: Graph) -> None:
        assert torch.allclose(answers(uneven), answers(graph), rtol=1e-5, atol=1e-5)
        renamed = {node.name for node in uneven.nodes} - {node.name for node in graph.nodes}
        assert renamed
        assert all(name.endswith(RESCALED) for name in renamed)

    def test_takes_an_uneven_spread_back(self, uneven: Graph) -> None:
        even = equalised(uneven, find_exponents(uneven, photographs()))
        lost = {}
        for name, each in (("uneven", uneven), ("even", even)):
            found = quantised(each, INTEGERS, calibrate(each, INTEGERS, photographs(), pixels=True))
            lost[name] = snr_db(answers(uneven), answers(found))
        assert lost["even"] > lost["uneven"] + 6, lost

    def test_refuses_what_was_found_on_another_network(self, graph: Graph) -> None:
        name = next(first.name for first, _ in pairs(graph))
        with pytest.raises(ValueError, match="is no convolution of 2 channels"):
            equalised(graph, {name: (1, 2)})
        with pytest.raises(ValueError, match="is no convolution"):
            equalised(graph, {"heads.3.sum": (1, 2)})


class TestImages:
    NOISE = np.random.RandomState(0).randint(0, 256, (80, 90, 3))

    def images(self, source: Path, preprocess: bool = True) -> CalibrationImages:
        return CalibrationImages(source=source, height=SIDE, width=SIDE, preprocessing=PAPER, preprocess=preprocess)

    def test_a_folder_with_folders(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", self.NOISE)
        write(tmp_path / "deep" / "er" / "b.jpg", self.NOISE)
        images = self.images(tmp_path)
        assert [image.shape for image in images] == [(1, 3, SIDE, SIDE)] * 2
        assert images.calibration == Calibration(tmp_path.name, 2)

    def test_one_file(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", self.NOISE)
        assert len(list(self.images(tmp_path / "a.png"))) == 1

    def test_normalised_where_the_network_takes_that(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", self.NOISE)
        (image,) = self.images(tmp_path, preprocess=False)
        assert image.min() < 0

    def test_what_cannot_be_read_is_skipped_and_named(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", self.NOISE)
        (tmp_path / "bad.jpg").write_bytes(b"no image")
        (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
        images = self.images(tmp_path)
        assert len(list(images)) == 1
        assert images.calibration.skipped == ("bad.jpg", "cut.png")

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda folder: None, "has no images"),
            (lambda folder: (folder / "a.png").write_bytes(b""), "None of the 1 images"),
            (lambda folder: write(folder / "a.png", np.full((9, 9, 3), 7)), "is of one colour"),
        ],
    )
    def test_images_that_will_not_do(self, tmp_path: Path, make, words: str) -> None:  # type: ignore[no-untyped-def]
        make(tmp_path)
        with pytest.raises(BadInput, match=words):
            list(self.images(tmp_path))

    def test_digits_has_images_of_its_own(self) -> None:
        images = CalibrationImages(source=DIGITS, height=SIDE, width=SIDE, preprocessing=PAPER, preprocess=True)
        assert len(images) == len(list(images)) == RECOMMENDED

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="There is no image"):
            list(self.images(tmp_path / "missing"))


class TestSensitivity:
    def test_the_layer_that_was_made_coarse_costs_most(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        name = next(node.name for node in graph.nodes if "stages.1" in node.name and "residual3" in node.name)
        coarse = {**qparams, name: replace(qparams[name], scale=64 * qparams[name].scale)}
        costs = sensitivity(graph, INTEGERS, coarse, photographs())
        assert set(costs) == set(layers(graph, INTEGERS))
        assert list(costs.values()) == sorted(costs.values())
        takes_it = {name, *(node.name for node in graph.consumers(name))}
        assert next(iter(costs)) in takes_it

    def test_agrees_with_quantising_one_layer(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        costs = sensitivity(graph, INTEGERS, qparams, photographs())
        name = list(costs)[len(costs) // 2]
        alone = with_kept(graph, INTEGERS, qparams, [other for other in costs if other != name])
        assert costs[name] == pytest.approx(snr_db(answers(graph), answers(alone)), abs=0.1)

    def test_the_fewest_are_kept(self, graph: Graph, qparams: dict[str, QuantParams]) -> None:
        noise = 255 * torch.rand(8, 1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        images = [*photographs(), *noise.numpy()]
        four_bits = replace(INTEGERS, weights=Weighting(bits=3))
        costs = sensitivity(graph, four_bits, qparams, images[:4])
        trials: list[str] = []

        def kept(allowed: float) -> tuple[list[str], float]:
            return fewest_float_layers(graph, four_bits, qparams, list(costs), images, allowed, trials.append)

        none, lost = kept(100)
        assert none == []
        assert lost > 10, "otherwise nothing is to be kept"
        few, left = kept(lost / 2)
        assert 0 < len(few) < len(costs)
        assert left <= lost / 2
        all_right, nothing = kept(0)
        assert nothing == 0
        assert len(all_right) >= len(few)
        assert trials


class TestQuantisationDocument:
    QUANTISATION = Quantisation(
        calibration=Calibration("photos", 3, ("bad.jpg",)),
        exponents=(("first", (1, -2, 0)),),
        qparams=(("a", QuantParams(0.5, 3, 0, 255)),),
        sensitivity=(("conv", 12.5), ("free", float("inf"))),
        kept=("conv",),
        allowed_loss=0.5,
        loss=0.25,
    )

    def test_comes_back(self) -> None:
        assert Quantisation.parse(json.loads(json.dumps(self.QUANTISATION.to_dict()))) == self.QUANTISATION
        assert Quantisation.parse(json.loads(json.dumps(Quantisation().to_dict()))) == Quantisation()

    @pytest.mark.parametrize("grid", [[0.0, 0, 0, 255], [1.0, 300, 0, 255], [float("inf"), 0, 0, 255], [1.0, 0]])
    def test_a_grid_that_is_none_is_refused(self, grid: list[float]) -> None:
        document = self.QUANTISATION.to_dict() | {"grids": {"a": grid}}
        with pytest.raises((ValueError, TypeError)):
            Quantisation.parse(document)


class TestRequest:
    def planned(self, format_: str, precision: str, **others: object) -> list[Target]:
        return plan_targets(Request(model=parse_model("m1"), formats=(format_,), precisions=(precision,), **others))  # type: ignore[arg-type]

    @pytest.mark.parametrize(("format_", "precision"), list(SCHEMES))
    def test_every_precision_of_the_table_is_a_format_s(self, format_: str, precision: str) -> None:
        assert precision in FORMATS[format_].precisions
        (target,) = self.planned(format_, precision)
        assert target.precision == precision
        assert target.deployment_target == (SCHEMES[format_, precision].deployment_target or None)

    @pytest.mark.parametrize(
        ("format_", "precision", "others", "words"),
        [
            ("onnx", "pal4", {}, "onnx does not support the precision pal4"),
            ("coreml", "dynamic", {}, "coreml does not support the precision dynamic"),
            ("coreml", "w8a8", {"deployment_target": "iOS16"}, "w8a8 requires the deployment target iOS17"),
            ("coreml", "int4", {"deployment_target": "iOS17"}, "int4 requires the deployment target iOS18"),
            ("coreml", "pal6", {"calibration": Path("photos")}, "--calibration requires a precision"),
            ("onnx", "fp16", {"calibration": Path("photos")}, "--calibration requires a precision"),
            ("onnx", "fp16", {"allowed_loss": 0.5}, "--keep-accuracy requires a quantised precision"),
            ("onnx", "int8", {"allowed_loss": -1.0}, "below 100 percent, got -1"),
            ("onnx", "int8", {"allowed_loss": 100.0}, "below 100 percent, got 100"),
            ("onnx", "int8", {"allowed_loss": float("nan")}, "below 100 percent, got nan"),
            ("onnx", "int8", {"allowed_loss": 1.0, "task": "features"}, "requires a classifier"),
        ],
    )
    def test_what_cannot_be_met_is_refused(
        self, format_: str, precision: str, others: dict[str, object], words: str
    ) -> None:
        with pytest.raises(BadInput, match=words):
            self.planned(format_, precision, **others)

    def test_calibration_serves_a_search_for_what_to_keep(self) -> None:
        assert self.planned("coreml", "pal6", calibration=Path("photos"), allowed_loss=0.5)

    def test_a_precision_that_nothing_has_is_a_misuse(self) -> None:
        with pytest.raises(UsageProblem, match="no precision 'int7'"):
            parse_precision("int7")

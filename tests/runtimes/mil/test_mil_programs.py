"""Whole programs in the evaluator against PyTorch: published networks, and ours with compressed weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import random_network, random_tiny

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.variants import VARIANTS
from evim_deploy.formats.coreml import read_package
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.networks.efficientvim.lowering import lower
from runtimes.mil import MilSession
from runtimes.modes import Mode

SIDE = 64
MODES = (Mode.FP32, Mode.FP16, Mode.ANE)

# --- published networks ------------------------------------------------------------------------------------


def network(name: str) -> torch.nn.Module:
    """Make a network of timm or torchvision with seeded weights and matching BatchNorm statistics."""
    import timm
    import torchvision

    torch.manual_seed(0)
    library, _, model = name.partition(":")
    if library == "torchvision":
        net = torchvision.models.get_model(model, weights=None)
    else:
        sized = {"img_size": SIDE} if "patch" in model or "levit" in model else {}
        net = timm.create_model(model, pretrained=False, num_classes=10, **sized)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
        elif isinstance(module, torch.nn.Dropout):
            module.p = 0
    with torch.no_grad():
        net.train()(torch.rand(4, 3, SIDE, SIDE))
    return net.eval()


def convert(net: torch.nn.Module, path: Path, precision: str, target: str = "iOS17") -> Any:
    import coremltools as ct

    with torch.no_grad():
        traced = torch.jit.trace(net, torch.rand(1, 3, SIDE, SIDE))
    model = ct.convert(
        traced,
        inputs=[ct.TensorType(name="image", shape=(1, 3, SIDE, SIDE))],
        minimum_deployment_target=getattr(ct.target, target),
        compute_precision=getattr(ct.precision, precision),
        skip_model_load=True,
    )
    model.save(str(path))
    return model


def gap(found: dict[str, Any], expected: torch.Tensor) -> float:
    """Return the largest difference relative to the largest value."""
    (values,) = found.values()
    return float(np.abs(values - expected.numpy()).max() / expected.abs().max())


SLOW = (
    "timm:efficientnet_b0",
    "timm:mobilevit_xxs",
    "timm:regnetx_002",
    "timm:swin_tiny_patch4_window7_224",
    "timm:levit_128s",
    "timm:poolformer_s12",
    "torchvision:mobilenet_v3_small",
    "torchvision:shufflenet_v2_x0_5",
)


@pytest.mark.parametrize(
    "name",
    [
        "timm:convnext_atto",
        "timm:deit_tiny_patch16_224",
        "timm:resnet18",
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW[::3]),
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in SLOW if name not in SLOW[::3]),
    ],
)
def test_a_published_network_equals_pytorch(tmp_path: Path, name: str) -> None:
    net = network(name)
    convert(net, tmp_path / "p.mlpackage", "FLOAT32")
    session = MilSession(tmp_path / "p.mlpackage", "fp32")
    images = [torch.rand(1, 3, SIDE, SIDE), torch.rand(1, 3, SIDE, SIDE)]
    with torch.no_grad():
        expected = [net(image) for image in images]
    assert gap({"of another image": expected[1].numpy()}, expected[0]) > 1e-2  # the check can fail
    for image, logits in zip(images, expected, strict=True):
        assert gap(session.run(image.numpy()), logits) < 1e-4


@pytest.mark.parametrize(
    "name",
    ["timm:convnext_atto", pytest.param("timm:mobilevit_xxs", marks=pytest.mark.slow)],
)
def test_a_published_network_in_half_precision(tmp_path: Path, name: str) -> None:
    """The error grows with each mode and stays small."""
    net = network(name)
    convert(net, tmp_path / "p.mlpackage", "FLOAT16")
    image = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = net(image)
    fp32, fp16, ane = (gap(MilSession(tmp_path / "p.mlpackage", mode).run(image.numpy()), expected) for mode in MODES)
    assert fp32 < fp16 < 1e-2
    assert fp16 / 2 < ane < 5e-2


# --- compressed weights ------------------------------------------------------------------------------------


def small_graph() -> Graph:
    """M1 with seeded weights, as a graph for the exporter."""
    model = random_network(VARIANTS["m1"], 0)
    return reparameterise(lower(model, "classify", "logits", True))[0]


def decompressed(model: Any) -> dict[str, Any]:
    """Return the weights of a model as coremltools decompresses them, by the name of the operation."""
    import coremltools.optimize.coreml as cto
    from coremltools.converters.mil.frontend.milproto.load import load

    plain = cto.decompress_weights(model)
    spec = plain.get_spec()
    program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=plain.weights_dir)
    layers = [op for op in program.functions["main"].operations if op.op_type in ("conv", "linear")]
    return {op.outputs[0].name: np.asarray(op.weight.val, dtype=np.float64) for op in layers}


def with_weights(graph: Graph, weights: dict[str, Any]) -> tuple[Graph, float]:
    """Replace the kernels of a graph; return it and the difference from its own kernels."""
    renamed = {value: name for name, value in graph.outputs.items()}
    differences = []

    def replaced(node: Node) -> Node:
        name = renamed.get(node.name, node.name).replace(".", "_")
        if "kernel" not in node.weights:
            return node
        kernel = weights[name].reshape(node.weights["kernel"].shape)
        differences.append(np.abs(kernel - node.weights["kernel"]).max() / np.abs(node.weights["kernel"]).max())
        return node.with_weights(kernel=kernel)

    return Graph(graph.input_name, map(replaced, graph.nodes), graph.outputs), float(max(differences))


def compressions(kind: str) -> Callable[[Any], Any]:
    import coremltools.optimize.coreml as cto

    def apply(verb: Callable[..., Any], options: Any) -> Callable[[Any], Any]:
        return lambda model: verb(model, cto.OptimizationConfig(global_config=options))

    int8 = apply(cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(mode="linear_symmetric"))
    uint8 = apply(cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(mode="linear", dtype="uint8"))
    palettes = apply(cto.palettize_weights, cto.OpPalettizerConfig(mode="uniform", nbits=4))
    pruned = apply(cto.prune_weights, cto.OpMagnitudePrunerConfig(target_sparsity=0.5))
    int4 = apply(
        cto.linear_quantize_weights,
        cto.OpLinearQuantizerConfig(mode="linear", dtype="int4", granularity="per_block", block_size=32),
    )
    grouped = apply(
        cto.palettize_weights,
        cto.OpPalettizerConfig(mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=16),
    )

    per_tensor = cto.OpLinearQuantizerConfig(granularity="per_tensor")

    def jointly(first: Callable[[Any], Any], verb: Callable[..., Any], options: Any) -> Callable[[Any], Any]:
        config = cto.OptimizationConfig(global_config=options)
        return lambda model: verb(first(model), config, joint_compression=True)

    return {
        "int8": int8,
        "uint8": uint8,
        "palettes of 4 bits": palettes,
        "pruned": pruned,
        "int4 by blocks": int4,
        "palettes by groups": grouped,
        "pruned palettes": jointly(pruned, cto.palettize_weights, cto.OpPalettizerConfig(mode="uniform", nbits=4)),
        "pruned int8": jointly(pruned, cto.linear_quantize_weights, cto.OpLinearQuantizerConfig()),
        "palettes of int8": jointly(grouped, cto.linear_quantize_weights, per_tensor),
    }[kind]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """M1 at 64x64 for iOS 16 and for iOS 18, and its graph."""
    import coremltools as ct

    from exporters.coreml import graph as coreml

    folder, graph = tmp_path_factory.mktemp("m1"), small_graph()
    target = Target(
        format="coreml",
        precision="fp32",
        height=SIDE,
        width=SIDE,
        batch=1,
        task="classify",
        output="logits",
        preprocess=True,
        labels=tuple(map(str, range(10))),
    )
    found: dict[str, Any] = {"graph": graph}
    for name in ("iOS16", "iOS18"):
        path = folder / f"{name}.mlpackage"
        coreml.build(graph, replace(target, deployment_target=name), path)
        found[name] = ct.models.MLModel(str(path), skip_model_load=True)
    return found


EVERY_RUN = ("int8", "palettes of 4 bits", "pruned", "int4 by blocks", "pruned palettes", "pruned int8")
"""One kind of each operation; the others are left to the exhaustive run."""
COMPRESSIONS = [
    pytest.param(*each, marks=pytest.mark.slow if each[0] in EVERY_RUN else pytest.mark.exhaustive)
    for each in (
        ("int8", "iOS16", "constexpr_affine_dequantize"),
        ("uint8", "iOS16", "constexpr_affine_dequantize"),
        ("palettes of 4 bits", "iOS16", "constexpr_lut_to_dense"),
        ("pruned", "iOS16", "constexpr_sparse_to_dense"),
        ("int4 by blocks", "iOS18", "constexpr_blockwise_shift_scale"),
        ("palettes by groups", "iOS18", "constexpr_lut_to_dense"),
        ("pruned palettes", "iOS18", "constexpr_lut_to_sparse"),
        ("pruned int8", "iOS18", "constexpr_sparse_blockwise_shift_scale"),
        ("palettes of int8", "iOS18", "constexpr_lut_to_dense"),
    )
]


@pytest.mark.parametrize(("kind", "target", "operation"), COMPRESSIONS)
def test_compressed_weights_equal_decompressed_ones_in_torch(
    tmp_path: Path, exported: dict[str, Any], kind: str, target: str, operation: str
) -> None:
    path = tmp_path / "compressed.mlpackage"
    model = compressions(kind)(exported[target])
    model.save(str(path))
    assert operation in {op.type for op in read_package(path).functions["main"].operations}
    graph, difference = with_weights(exported["graph"], decompressed(model))
    image = torch.randint(0, 256, (1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)).double()
    expected = evaluate(graph, image)["logits"]
    found = MilSession(path, "fp32").run(image.float().numpy())
    assert difference > 1e-3  # compression has changed the weights,
    assert gap({"logits": evaluate(exported["graph"], image)["logits"].numpy()}, expected) > 1e-3  # and the answer
    assert gap(found, expected) < 1e-4


# --- our own -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_tiny_network_of_ours(tmp_path: Path, precision: str) -> None:
    from exporters.coreml import graph as coreml

    graph = reparameterise(lower(random_tiny(0), "classify", "logits", True))[0]
    target = Target(
        format="coreml",
        precision=precision,
        height=48,
        width=80,
        batch=1,
        task="classify",
        output="logits",
        preprocess=True,
        labels=(),
    )
    coreml.build(graph, target, tmp_path / "p.mlpackage")
    image = torch.randint(0, 256, (1, 3, 48, 80), generator=torch.Generator().manual_seed(0)).double()
    expected = evaluate(graph, image)["logits"]
    found = MilSession(tmp_path / "p.mlpackage", precision).run(image.float().numpy())
    assert gap(found, expected) < {"fp32": 1e-4, "fp16": 3e-2}[precision]


@pytest.mark.slow
def test_m4_needs_at_most_forty_times_the_work_in_every_mode(tmp_path: Path) -> None:
    """The unit is the processor time of eager PyTorch, measured beside it, so that the load of the machine cancels.

    Forty times are two seconds on two cores where eager takes 0.05 s; ``ane`` takes 16 to 27 times, idle or busy.
    """
    from exporters.coreml import graph as coreml

    network = random_network(VARIANTS["m4"], 0)
    graph = reparameterise(lower(network, "classify", "logits", True))[0]
    path = tmp_path / "m4.mlpackage"
    coreml.build(
        graph,
        Target(
            format="coreml",
            precision="fp16",
            height=256,
            width=256,
            batch=1,
            task="classify",
            output="logits",
            preprocess=True,
            labels=(),
        ),
        path,
    )
    image = np.random.RandomState(0).randint(0, 256, (1, 3, 256, 256)).astype(np.float32)
    network.float().eval()

    def eager() -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(image))

    def evaluated(mode: str) -> object:
        return MilSession(path, mode).run(image)

    for mode in MODES:
        pairs = [(_seconds(eager), _seconds(partial(evaluated, mode))) for _ in range(3)]
        assert min(there for _, there in pairs) < 40 * min(here for here, _ in pairs), mode


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start

"""The sessions of the engines: inputs, outputs, metadata, modes and refusals; the choice of an engine."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator
from model_files import pack, unpack
from networks import pixels, random_tiny
from PIL import Image
from simulated import facts_of

import exporters
import runtimes
from evim_deploy.artifact.metadata import LABELS_KEY, METADATA_KEY
from evim_deploy.artifact.target import Target
from evim_deploy.common.errors import BadInput, NotInstalled, NotRunHere
from evim_deploy.graph.half_precision import round_to_half
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.networks.efficientvim.lowering import lower
from runtimes import ENGINES
from runtimes.coreml import CoremlSession
from runtimes.modes import Mode

FILES = ("onnx", "tflite")
FORMATS = (*FILES, "coreml")
SIZE = (48, 80)
LABELS = ("zebra", "apple", "Größe")
METADATA = {METADATA_KEY: '{"a": "ä"}', LABELS_KEY: json.dumps(LABELS)}


@functools.cache
def graph(output: str) -> Graph:
    task = "features" if output == "features" else "classify"
    model = random_tiny(0, len(LABELS), depths=(1, 1, 1))
    return reparameterise(lower(model, task, output, True))[0]


def target_of(format_: str, output: str = "logits", precision: str = "fp32") -> Target:
    task = "features" if output == "features" else "classify"
    height, width = SIZE
    return Target(
        format=format_,
        precision=precision,
        height=height,
        width=width,
        batch=1,
        task=task,
        output=output,
        preprocess=True,
        labels=LABELS,
    )


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """An annotated artifact of each format and task."""
    folder = tmp_path_factory.mktemp("artifacts")
    paths = {}
    for format_ in FORMATS:
        row = exporters.FORMATS[format_]
        exporter = exporters.load(row)
        for output in ("logits", "features"):
            path = paths[format_, output] = folder / f"{output}{row.suffix}"
            target = target_of(format_, output)
            exporter.annotate(path, METADATA, facts_of(target, exporter.build(graph(output), target, path)))
    return paths


def opened(path: Path, mode: str | None = None) -> AbstractContextManager[runtimes.Session]:
    """Open an artifact in the engine that runs on every host."""
    return runtimes.open_artifact(path, runtimes.tracing_engine(path), mode)


def ours(metadata: Mapping[str, str]) -> dict[str, str]:
    """Remove the metadata of coremltools."""
    return {key: text for key, text in metadata.items() if not key.startswith("com.")}


# --- sessions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_metadata_is_ours_alone(artifacts: dict[tuple[str, str], Path], format_: str) -> None:
    with opened(artifacts[format_, "logits"]) as session:
        assert ours(session.metadata) == METADATA
        if format_ in FILES:
            assert dict(session.metadata) == METADATA


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_without_metadata_has_none(tmp_path: Path, format_: str) -> None:
    row = exporters.FORMATS[format_]
    exporters.load(row).build(graph("logits"), target_of(format_), tmp_path / f"bare{row.suffix}")
    with opened(tmp_path / f"bare{row.suffix}") as session:
        assert ours(session.metadata) == {}


@pytest.mark.parametrize("format_", FORMATS)
def test_logits_are_returned_by_name(artifacts: dict[tuple[str, str], Path], format_: str) -> None:
    image = pixels(0, *SIZE)
    with opened(artifacts[format_, "logits"]) as session:
        outputs = session.run(image.float().numpy())
    assert list(outputs) == ["logits"]
    assert outputs["logits"].shape == (1, len(LABELS))
    assert outputs["logits"].dtype == np.float32
    expected = evaluate(graph("logits"), image)["logits"].numpy()
    assert np.abs(outputs["logits"] - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("format_", FORMATS)
def test_feature_maps_are_channels_first(artifacts: dict[tuple[str, str], Path], format_: str) -> None:
    image = pixels(1, *SIZE)
    expected = evaluate(graph("features"), image)
    with opened(artifacts[format_, "features"]) as session:
        outputs = session.run(image.float().numpy())
    assert outputs.keys() == expected.keys() == {"stride16", "stride32", "stride64"}
    for name, value in expected.items():
        assert outputs[name].shape == value.shape
        assert np.abs(outputs[name] - value.numpy()).max() < 1e-4 * value.abs().max()


@pytest.mark.parametrize("format_", FORMATS)
def test_outputs_survive_the_next_run_and_the_session(artifacts: dict[tuple[str, str], Path], format_: str) -> None:
    """An engine must not return views of memory that it reuses."""
    first, second = (pixels(seed, *SIZE).float().numpy() for seed in (2, 3))
    with opened(artifacts[format_, "features"]) as session:
        outputs = session.run(first)
        copies = {name: array.copy() for name, array in outputs.items()}
        other = session.run(second)
        again = session.run(first)
    for name, copy in copies.items():
        assert np.array_equal(outputs[name], copy)
        assert np.array_equal(again[name], copy)
        assert not np.array_equal(other[name], copy)


# --- modes -----------------------------------------------------------------------------------------------

MODES = [
    (format_, mode)
    for format_, engine in (("onnx", "onnxruntime"), ("tflite", "litert"), ("coreml", "mil"))
    for mode in ENGINES[engine].modes
]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An fp16 artifact of each format."""
    folder, paths = tmp_path_factory.mktemp("halves"), {}
    for format_ in FORMATS:
        row, target = exporters.FORMATS[format_], target_of(format_, precision="fp16")
        path = paths[format_] = folder / f"half{row.suffix}"
        exporters.load(row).build(round_to_half(graph("logits")), target, path)
    return paths


@pytest.mark.parametrize("format_", FORMATS)
def test_fp32_computes_with_an_fp16_files_own_weights_in_float32(halves: dict[str, Path], format_: str) -> None:
    image = pixels(4, *SIZE).round()
    expected = evaluate(round_to_half(graph("logits")), image)["logits"].numpy()
    with opened(halves[format_], "fp32") as session:
        found = session.run(image.float().numpy())["logits"]
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 2e-5 * np.ptp(expected)
    unrounded = evaluate(graph("logits"), image)["logits"].numpy()
    assert np.abs(expected - unrounded).max() > 1e-4 * np.ptp(expected)  # the check distinguishes the two


@pytest.mark.parametrize(("format_", "mode"), MODES)
def test_every_mode_is_within_the_error_of_fp16(halves: dict[str, Path], format_: str, mode: str) -> None:
    image = pixels(5, *SIZE).round()
    expected = evaluate(round_to_half(graph("logits")), image)["logits"].numpy()
    with opened(halves[format_], mode) as session:
        error = np.abs(session.run(image.float().numpy())["logits"] - expected).max() / np.ptp(expected)
    assert error < 0.05
    if mode not in ("fp32", "decoded"):
        assert error > 1e-4  # it does round


@pytest.mark.parametrize(("format_", "mode"), MODES)
def test_half_precision_modes_do_not_change_an_fp32_file(
    artifacts: dict[tuple[str, str], Path], format_: str, mode: str
) -> None:
    image = pixels(6, *SIZE).round().float().numpy()
    with opened(artifacts[format_, "logits"], mode) as session, opened(artifacts[format_, "logits"], "fp32") as single:
        assert np.array_equal(session.run(image)["logits"], single.run(image)["logits"])
        assert session.anomalies == {}


# --- choosing an engine ------------------------------------------------------------------------------------

Host = Callable[..., None]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Simulate another host: its system, and a missing package."""
    installed = importlib.util.find_spec

    def pretend(system: str = "Linux", without: str = "") -> None:
        monkeypatch.setattr("platform.system", lambda: system)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == without else installed(name))

    return pretend


def touched(folder: Path, suffix: str) -> Path:
    path = folder / f"artifact{suffix}"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("suffix", "names"), [(".onnx", ["onnxruntime"]), (".tflite", ["litert"]), (".mlpackage", ["coreml", "mil"])]
)
def test_engines_go_by_the_suffix(tmp_path: Path, suffix: str, names: list[str]) -> None:
    """Core ML itself precedes the evaluator."""
    engines = runtimes.engines_for(touched(tmp_path, suffix))
    assert [engine.name for engine in engines] == names
    assert engines == runtimes.engines_of(suffix)


def test_every_engine_is_listed_for_its_suffix() -> None:
    assert all(engine in runtimes.engines_of(engine.suffix) for engine in ENGINES.values())
    assert all(engine.modes and len(set(engine.modes)) == len(engine.modes) for engine in ENGINES.values())


def test_an_engine_supports_its_default_and_its_exact_mode() -> None:
    for engine in ENGINES.values():
        assert engine.default_mode in engine.modes
        assert engine.exact_mode is None or engine.exact_mode in engine.modes


@pytest.mark.parametrize(("suffix", "name"), [(".onnx", "onnxruntime"), (".tflite", "litert"), (".mlpackage", "mil")])
def test_every_format_has_a_tracing_and_an_exact_engine(tmp_path: Path, suffix: str, name: str) -> None:
    path = touched(tmp_path, suffix)
    assert runtimes.tracing_engine(path).name == runtimes.exact_engine(path).name == name


def test_an_engine_is_found_by_its_mode() -> None:
    engines = runtimes.engines_of(".mlpackage")
    assert runtimes.engine_with_mode(engines, Mode.CPU_ONLY) is ENGINES["coreml"]
    assert runtimes.engine_with_mode(engines, Mode.ANE) is ENGINES["mil"]
    assert runtimes.engine_with_mode(engines, Mode.DECODED) is None


@pytest.mark.parametrize(
    ("system", "suffix", "name"),
    [
        ("Linux", ".mlpackage", "mil"),
        ("Windows", ".mlpackage", "mil"),
        ("Darwin", ".mlpackage", "coreml"),
        ("Darwin", ".onnx", "onnxruntime"),
        ("Linux", ".tflite", "litert"),
    ],
)
def test_the_first_engine_that_the_host_can_run_is_chosen(host: Host, system: str, suffix: str, name: str) -> None:
    host(system)
    assert runtimes.first_available(runtimes.engines_of(suffix)).name == name


def test_a_file_with_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.onnx, \.tflite, \.mlpackage\."):
        runtimes.engines_for(touched(tmp_path, ".pt"))


def test_a_missing_artifact_is_refused(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.pt", "x" * 300 + ".onnx"):
        with pytest.raises(BadInput, match=r"There is no artifact|File name too long"):
            runtimes.engines_for(tmp_path / name)


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """An fp16 TFLite file to damage."""
    path = tmp_path / "model.tflite"
    exporters.load(exporters.FORMATS["tflite"]).build(
        round_to_half(graph("features")), target_of("tflite", "features", "fp16"), path
    )
    return path


def operations_of(model: Any, kind: int) -> list[Any]:
    """Return the operations of a type in a TFLite file."""
    code = [each.builtinCode for each in model.operatorCodes].index(kind)
    return [each for each in model.subgraphs[0].operators if each.opcodeIndex == code]


def test_a_file_that_crashes_litert_is_refused(half: Path) -> None:
    """A split into zero parts crashes XNNPACK in LiteRT 2.1 to 2.3 with SIGSEGV."""
    model = unpack(half)
    operations_of(model, BuiltinOperator.SPLIT)[0].builtinOptions.numSplits = 0
    pack(model, half)
    with pytest.raises(BadInput, match=r"LiteRT crashes on .*model\.tflite"):
        runtimes.open_artifact(half).__enter__()


def test_a_file_that_asks_for_too_much_memory_is_refused(half: Path) -> None:
    """A dequantised weight that claims 2**27 rows: LiteRT 2.1 crashes writing them, 2.3 refuses the file."""
    model = unpack(half)
    tensors = model.subgraphs[0].tensors
    widened = [tensors[each.outputs[0]] for each in operations_of(model, BuiltinOperator.DEQUANTIZE)]
    tensor = next(tensor for tensor in widened if len(tensor.shape) == 4)
    tensor.shape = [*tensor.shape[:2], 1 << 27, *tensor.shape[3:]]
    pack(model, half)
    with pytest.raises(BadInput, match=r"LiteRT (crashes on|rejects) .*model\.tflite"):
        runtimes.open_artifact(half).__enter__()


@pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
def test_a_missing_engine_is_named_with_its_pip_command(tmp_path: Path, host: Host, engine: runtimes.Engine) -> None:
    path = touched(tmp_path, engine.suffix)
    package, *_ = engine.requires
    host("Darwin", without=package.replace("-", "_"))
    with pytest.raises(NotInstalled) as caught:
        runtimes.open_artifact(path, engine)
    assert package in caught.value.cause
    assert path.name in caught.value.cause
    assert caught.value.remedy == f'pip install "evim-deploy[{engine.extra}]"'
    assert runtimes.unavailable_reason(engine) == f"{package} is not installed"
    assert runtimes.first_available((engine,)) is engine  # the only candidate, for the message


@pytest.mark.parametrize("name", ["onnxruntime", "litert", "mil"])
def test_engines_that_run_everywhere_are_available(name: str) -> None:
    assert runtimes.unavailable_reason(ENGINES[name]) == ""


def test_a_package_cannot_be_evaluated_without_torch(tmp_path: Path, host: Host) -> None:
    host("Linux", without="torch")
    with pytest.raises(NotInstalled, match="torch, which is not installed"):
        runtimes.open_artifact(touched(tmp_path, ".mlpackage"))


@pytest.mark.parametrize("system", ["Linux", "Windows"])
def test_core_ml_itself_runs_on_a_mac_only(tmp_path: Path, host: Host, system: str) -> None:
    host(system)
    with pytest.raises(NotRunHere, match=r"(?s)artifact\.mlpackage.*macOS") as caught:
        runtimes.open_artifact(touched(tmp_path, ".mlpackage"), ENGINES["coreml"])
    assert caught.value.exit_code == 6
    assert "macOS" in runtimes.unavailable_reason(ENGINES["coreml"])


def test_core_ml_is_available_on_a_mac(host: Host) -> None:
    host("Darwin")
    assert runtimes.unavailable_reason(ENGINES["coreml"]) == ""


# --- damaged files -----------------------------------------------------------------------------------------


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _head(content: bytes) -> bytes:
    return content[:20]


def _text(content: bytes) -> bytes:
    return b"this is no model at all, but a text of some length\n" * 20


def _zeros_inside(content: bytes) -> bytes:
    return content[:200] + bytes(len(content) - 200)


def _other_format(content: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + content[8:]


@pytest.mark.parametrize("damage", [_half, _head, _text, _zeros_inside, _other_format, lambda content: b""])
@pytest.mark.parametrize("format_", FILES)
def test_a_damaged_file_is_bad_input(
    tmp_path: Path, artifacts: dict[tuple[str, str], Path], format_: str, damage: Any
) -> None:
    path = tmp_path / f"damaged{exporters.FORMATS[format_].suffix}"
    path.write_bytes(damage(artifacts[format_, "logits"].read_bytes()))
    with pytest.raises(BadInput) as caught, opened(path):
        pass
    assert path.name in caught.value.cause
    assert "\n" not in caught.value.cause


@pytest.mark.parametrize("format_", FILES)
def test_a_directory_is_bad_input(tmp_path: Path, format_: str) -> None:
    path = tmp_path / f"folder{exporters.FORMATS[format_].suffix}"
    path.mkdir()
    with pytest.raises(BadInput, match="folder"), opened(path):
        pass


# --- Core ML, with a fake model ----------------------------------------------------------------------------


class FakeModel:
    """The part of coremltools' MLModel that a session needs."""

    def __init__(
        self, answer: Mapping[str, Any], image: bool, classifier: bool, metadata: Mapping[str, str] | None = None
    ) -> None:
        self.answer = answer
        self.inputs: dict[str, Any] = {}
        kind = SimpleNamespace(WhichOneof=lambda group: "imageType" if image else "multiArrayType")
        self.description = SimpleNamespace(
            metadata=SimpleNamespace(userDefined=METADATA if metadata is None else metadata),
            input=[SimpleNamespace(name="image", type=kind)],
            functions=[],
            defaultFunctionName="",
            predictedProbabilitiesName="classLabel_probs" if classifier else "",
        )

    def get_spec(self) -> Any:
        return SimpleNamespace(description=self.description)

    def predict(self, inputs: dict[str, Any]) -> Mapping[str, Any]:
        self.inputs = inputs
        return self.answer


def test_an_image_input_is_fed_a_picture() -> None:
    model = FakeModel({"logits": np.zeros((1, 3), np.float16)}, image=True, classifier=False)
    rgb = np.random.RandomState(0).randint(0, 256, (*SIZE, 3)).astype(np.uint8)
    outputs = CoremlSession(Path("a.mlpackage"), model).run(rgb.transpose(2, 0, 1)[None].astype(np.float32))
    (picture,) = model.inputs.values()
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size) == ("RGB", (SIZE[1], SIZE[0]))
    assert np.array_equal(np.asarray(picture), rgb)
    assert outputs["logits"].dtype == np.float32


def test_an_array_input_is_fed_the_array() -> None:
    model = FakeModel({"logits": np.zeros((2, 3), np.float32)}, image=False, classifier=False)
    image = pixels(0, *SIZE, batch=2).float().numpy()
    CoremlSession(Path("a.mlpackage"), model).run(image)
    assert model.inputs["image"] is image


def test_the_probabilities_of_a_classifier_are_in_the_order_of_the_labels() -> None:
    by_label = {"apple": 0.25, "Größe": 0.5, "zebra": 0.125}
    model = FakeModel({"classLabel": "Größe", "classLabel_probs": by_label}, image=True, classifier=True)
    outputs = CoremlSession(Path("a.mlpackage"), model).run(pixels(0, *SIZE).float().numpy())
    assert list(outputs) == ["probabilities"]
    assert outputs["probabilities"].tolist() == [[0.125, 0.25, 0.5]]  # zebra, apple, Größe
    assert outputs["probabilities"].dtype == np.float32


def test_a_classifier_without_our_labels_has_its_own_order() -> None:
    answer = {"classLabel": "b", "classLabel_probs": {"b": 0.75, "a": 0.25}}
    model = FakeModel(answer, image=True, classifier=True, metadata={})
    session = CoremlSession(Path("a.mlpackage"), model)
    assert session.metadata == {}
    assert session.run(pixels(0, *SIZE).float().numpy())["probabilities"].tolist() == [[0.75, 0.25]]


def test_a_session_has_the_metadata_of_the_package() -> None:
    assert CoremlSession(Path("a.mlpackage"), FakeModel({}, image=True, classifier=True)).metadata == METADATA


UNITS = {"all": "ALL", "cpuOnly": "CPU_ONLY", "cpuAndGPU": "CPU_AND_GPU", "cpuAndNeuralEngine": "CPU_AND_NE"}


@pytest.fixture
def loaded(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Simulate a Mac; the list records the packages that Core ML loads and their compute units."""
    import coremltools

    calls: list[tuple[str, Any]] = []

    def load(path: str, compute_units: Any, function_name: str | None) -> FakeModel:
        calls.append((path, compute_units))
        return FakeModel({}, image=True, classifier=True)

    host("Darwin")
    monkeypatch.setattr(coremltools.models, "MLModel", load)
    return calls


@pytest.mark.parametrize("mode", ENGINES["coreml"].modes)
def test_a_mode_of_core_ml_is_its_compute_units(tmp_path: Path, loaded: list[tuple[str, Any]], mode: str) -> None:
    from coremltools import ComputeUnit

    path = touched(tmp_path, ".mlpackage")
    with runtimes.open_artifact(path, ENGINES["coreml"], mode) as session:
        assert session.metadata == METADATA
        assert session.anomalies == {}
    assert loaded == [(str(path), getattr(ComputeUnit, UNITS[mode]))]


def test_core_ml_uses_all_units_by_default(tmp_path: Path, loaded: list[tuple[str, Any]]) -> None:
    from coremltools import ComputeUnit

    with runtimes.open_artifact(touched(tmp_path, ".mlpackage")):
        assert [units for _, units in loaded] == [ComputeUnit.ALL]


def test_a_package_that_core_ml_refuses_is_damaged(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    import coremltools

    def refuse(path: str, compute_units: Any, function_name: str | None) -> None:
        raise RuntimeError("Error compiling model")

    host("Darwin")
    monkeypatch.setattr(coremltools.models, "MLModel", refuse)
    with pytest.raises(BadInput, match=r"Core ML rejects .*artifact\.mlpackage: Error compiling model"):
        runtimes.open_artifact(touched(tmp_path, ".mlpackage")).__enter__()


def test_litert_quantises_inputs_and_dequantises_outputs() -> None:
    from runtimes.litert.quantised import dequantise, quantise

    parameters = (0.5, -3)
    quantised = quantise(np.array([-100, -1, 0, 0.26, 100], np.float32), np.int8, parameters)
    assert (quantised.dtype, quantised.tolist()) == (np.int8, [-128, -5, -3, -2, 127])
    assert dequantise(quantised, parameters).tolist() == [-62.5, -1, 0, 0.5, 65]
    plain = (0.0, 0)
    assert dequantise(quantise(np.float32([0.1]), np.float32, plain), plain) == np.float32(0.1)

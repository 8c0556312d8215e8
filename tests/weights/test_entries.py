"""Finding a network's weights in the files of training scripts and libraries."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import tiny_timm
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from evim_deploy.catalog.variants import VARIANTS, ModelName, Variant
from evim_deploy.common.errors import BadInput
from evim_deploy.networks.efficientvim.checkpoint import load_model, read_checkpoint
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.weights import resolve
from evim_deploy.networks.timm.open import find_timm, open_timm
from evim_deploy.weights import hub

TINY = Variant(name="tiny", depths=(1, 2, 1), channels=(8, 16, 24), states=(5, 4, 3), resolution=64)
CLASSES = 12

State = dict[str, Tensor]
Load = Callable[[Path], tuple[State, str]]


@pytest.fixture(autouse=True)
def _tiny_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, TINY.name, TINY)


def network(kind: str, seed: int = 0) -> nn.Module:
    """A network with random tensors only, so that a swap of two weights is detected."""
    torch.manual_seed(seed)
    model = EfficientViM(TINY, CLASSES) if kind == "ours" else timm.create_model(tiny_timm.NAME)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)
    return model.eval()


def loaded(kind: str, path: Path) -> tuple[State, str]:
    """The weights of a network in a file, and the note on their location."""
    if kind == "ours":
        checkpoint = read_checkpoint(path)
        return dict(load_model(checkpoint, ModelName(TINY), None).state_dict()), checkpoint.note
    opened = open_timm(find_timm(tiny_timm.NAME), str(path), None, lambda _: None)
    return dict(opened.module.state_dict()), opened.weights.note


def assert_equal(found: State, model: nn.Module) -> None:
    expected = model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(found[name], tensor.float()), name


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.fixture(params=["ours", "timm"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def averaged(model: nn.Module, steps: int = 1) -> State:
    """The state dict of torch's AveragedModel after a number of updates."""
    average = AveragedModel(model)
    for _ in range(steps):
        average.update_parameters(model)
    return dict(average.state_dict())


BESIDE = {
    "criterion.weight": torch.ones(3),
    "loss.log_vars": torch.zeros(2),
    "val_accuracy.tp": torch.zeros(4, dtype=torch.int64),
    "teacher.0.weight": torch.ones(2, 2),
}

WRITTEN: dict[str, Callable[[State], Any]] = {
    "bare": lambda own: own,
    "model_state_dict": lambda own: {
        "model_state_dict": own,
        "optimizer_state_dict": {"state": {}, "x": torch.ones(2)},
    },
    "Lightning": lambda own: {
        "state_dict": {**prefixed("model.", own), **BESIDE},
        "pytorch-lightning_version": "2.5.0",
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": []}],
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
    },
    "ignite": lambda own: {"net": own, "trainer": {"epoch": 3}},
    "DeepSpeed": lambda own: {"module": prefixed("module.", own), "buffer_names": [], "ds_config": {}},
    "accelerate, compiled": lambda own: prefixed("_orig_mod.module.", own),
    "compiled inside": lambda own: {f"net.{k.replace('.', '._orig_mod.', 1)}": v for k, v in own.items()},
    "DDP in Lightning": lambda own: {"state_dict": prefixed("model.module.", own)},
    "backbone.": lambda own: prefixed("backbone.", own),
    "encoder.q.": lambda own: {"model": prefixed("encoder.q.", own)},
    "an unusual prefix": lambda own: {"weights": prefixed("my_net.inner.", own), "epoch": 1},
    "a tuple": lambda own: (own, {"state": {}}),
    "a list in an entry": lambda own: {"models": [prefixed("module.", own)]},
    "four deep": lambda own: {"state": {"train": {"network": own}}},
    "twice the same": lambda own: {"model": own, "best": {k: v.clone() for k, v in own.items()}},
    "loss beside": lambda own: {**own, "criterion.weight": torch.ones(2), "n_averaged": torch.tensor(0)},
    "OrderedDict": lambda own: OrderedDict(prefixed("module.", own)),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_the_entry_and_the_prefix_are_found(kind: str, how: str, tmp_path: Path) -> None:
    model = network(kind)
    torch.save(WRITTEN[how](dict(model.state_dict())), tmp_path / "w.ckpt")
    assert_equal(loaded(kind, tmp_path / "w.ckpt")[0], model)


def test_what_was_found_and_left_out_is_told(kind: str, tmp_path: Path) -> None:
    torch.save(WRITTEN["Lightning"](dict(network(kind).state_dict())), tmp_path / "w.ckpt")
    note = loaded(kind, tmp_path / "w.ckpt")[1]
    assert note.startswith("From the entry state_dict of the file, names that begin with 'model.'.")
    assert "Left out: criterion.weight" in note


AVERAGES: dict[str, Callable[[State, nn.Module], Any]] = {
    "torch's AveragedModel": lambda raw, average: averaged(average),
    "AveragedModel in an entry": lambda raw, average: {"model": raw, "swa_model": averaged(average)},
    "without a telling name": lambda raw, average: {"model": raw, "second": averaged(average)},
    "model_ema": lambda raw, average: {"model_ema": average.state_dict(), "model": raw},
    "ModelEmaV2": lambda raw, average: {"model": raw, "model_ema": prefixed("module.", dict(average.state_dict()))},
    "state_dict_ema": lambda raw, average: {"state_dict": raw, "state_dict_ema": average.state_dict()},
    "ema": lambda raw, average: {"model_state_dict": raw, "ema": average.state_dict()},
    "params_ema": lambda raw, average: {"params": raw, "params_ema": average.state_dict()},
    "ema in Lightning's module": lambda raw, average: {
        "state_dict": {**prefixed("model.", raw), **prefixed("ema.", averaged(average))}
    },
    "Lightning's callback": lambda raw, average: {
        "state_dict": prefixed("model.", raw),
        "callbacks": {"EMA": {"ema_state_dict": prefixed("model.", dict(average.state_dict()))}},
    },
    "Lightning's WeightAveraging": lambda raw, average: {
        "state_dict": prefixed("net.", dict(average.state_dict())),
        "current_model_state": prefixed("net.", raw),
        "averaging_state": {"n_averaged": torch.tensor(5)},
    },
    "MMEngine": lambda raw, average: {
        "state_dict": prefixed("backbone.", dict(average.state_dict())),
        "ema_state_dict": {**prefixed("module.backbone.", raw), "steps": torch.tensor(7)},
        "message_hub": {"log_scalars": {}},
    },
}


@pytest.mark.parametrize("how", AVERAGES)
def test_averaged_weights_are_preferred_and_named(kind: str, how: str, tmp_path: Path) -> None:
    raw, average = network(kind, 1), network(kind, 2)
    torch.save(AVERAGES[how](dict(raw.state_dict()), average), tmp_path / "w.pth")
    state, note = loaded(kind, tmp_path / "w.pth")
    assert_equal(state, average)
    assert how == "torch's AveragedModel" or "averaged; the file also holds" in note


def test_an_average_of_nothing_is_not_preferred(kind: str, tmp_path: Path) -> None:
    """The AveragedModel of torch holds the first weights until it is updated."""
    raw, other = network(kind, 1), network(kind, 2)
    torch.save({"model": raw.state_dict(), "swa": averaged(other, steps=0)}, tmp_path / "w.pth")
    assert_equal(loaded(kind, tmp_path / "w.pth")[0], raw)
    content = {"state_dict": other.state_dict(), "current_model_state": raw.state_dict()}
    torch.save({**content, "averaging_state": {"n_averaged": torch.tensor(0)}}, tmp_path / "w.pth")
    with pytest.raises(BadInput, match="holds the weights of the network 2 times"):
        loaded(kind, tmp_path / "w.pth")


def test_an_average_of_the_parameters_alone_gives_way(kind: str, tmp_path: Path) -> None:
    """Many scripts average the parameters alone, without the statistics of BatchNorms."""
    raw, average = network(kind, 1), network(kind, 2)
    shadow = {name: parameter.data for name, parameter in average.named_parameters()}
    torch.save({"model": raw.state_dict(), "ema": {"shadow": shadow}}, tmp_path / "w.pth")
    state, note = loaded(kind, tmp_path / "w.pth")
    assert_equal(state, raw)
    assert "most complete; the file also holds the entry ema.shadow" in note


@pytest.mark.parametrize(
    ("wrap", "named"),
    [
        (lambda one, two: {"student": one, "teacher": two}, ["the entry student", "the entry teacher"]),
        (
            lambda one, two: {"state_dict": {**prefixed("student.", one), **prefixed("teacher.", two)}},
            ["'student.' of the entry state_dict", "'teacher.' of the entry state_dict"],
        ),
        (lambda one, two: {"ema_0.99": one, "ema_0.999": two}, ["ema_0.99", "ema_0.999"]),
        (lambda one, two: {"model": one, "best_model": two}, ["the entry model", "best_model"]),
    ],
)
def test_two_that_fit_are_told_and_not_guessed(kind: str, tmp_path: Path, wrap: Any, named: list[str]) -> None:
    one, two = (dict(network(kind, seed).state_dict()) for seed in (1, 2))
    torch.save(wrap(one, two), tmp_path / "w.pth")
    with pytest.raises(BadInput, match="holds the weights of the network 2 times") as caught:
        loaded(kind, tmp_path / "w.pth")
    assert all(name in caught.value.cause for name in named)
    assert "Save one of them" in caught.value.remedy


def test_what_does_not_fit_is_listed(kind: str, tmp_path: Path) -> None:
    state = dict(network(kind).state_dict())
    lost, wrong = [name for name in state if name.endswith(".weight") and state[name].ndim == 4][:2]
    content = {**state, "extra.weight": torch.ones(2), wrong: torch.ones(1, 2)}
    del content[lost]
    torch.save({"state_dict": prefixed("model.", content)}, tmp_path / "w.pth")
    with pytest.raises(BadInput) as caught:
        loaded(kind, tmp_path / "w.pth")
    cause = caught.value.cause
    assert f"1 missing: {lost}" in cause
    assert "1 unexpected: extra.weight" in cause
    shape = tuple(state[wrong].shape)
    assert f"1 of a wrong shape: {wrong} (expected {shape}, found (1, 2))" in cause


@pytest.mark.parametrize(
    ("value", "is_float"),
    [
        (lambda tensor: torch.ones(tensor.shape, dtype=torch.int8), False),
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), False),
        (lambda tensor: tensor.to_sparse(), False),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), False),
        (lambda tensor: tensor.to(torch.complex64), False),
        (lambda tensor: tensor.half(), True),
        (lambda tensor: tensor.bfloat16(), True),
        (lambda tensor: tensor.double(), True),
        (lambda tensor: tensor.t().contiguous().t(), True),
    ],
    ids=["int8", "quantised", "sparse", "float8", "complex", "fp16", "bf16", "fp64", "transposed"],
)
def test_numbers_of_every_type(kind: str, tmp_path: Path, value: Any, is_float: bool) -> None:
    state = dict(network(kind).state_dict())
    name = next(name for name, tensor in state.items() if tensor.ndim == 2 and tensor.is_floating_point())
    changed = value(state[name])
    torch.save({"model": {**state, name: changed}}, tmp_path / "w.pth")
    if is_float:
        assert torch.equal(loaded(kind, tmp_path / "w.pth")[0][name], changed.float())
        return
    with pytest.raises(BadInput, match="not plain floating-point tensors") as caught:
        loaded(kind, tmp_path / "w.pth")
    assert name in caught.value.cause


def test_a_parameter_with_attributes_is_a_parameter(kind: str, tmp_path: Path) -> None:
    """Optimisers and Mamba's code mark parameters; torch then pickles them by another function."""
    model = network(kind)
    state = dict(model.state_dict(keep_vars=True))
    for name, tensor in state.items():
        tensor._no_weight_decay = True
        state[name] = tensor
    plain = {name: tensor.data.clone() for name, tensor in state.items()}
    for tensor in plain.values():
        tensor._mark = 1
    torch.save({"model": plain}, tmp_path / "plain.pth")
    torch.save({"model": state}, tmp_path / "parameters.pth")
    for file in ("plain.pth", "parameters.pth"):
        assert_equal(loaded(kind, tmp_path / file)[0], model)


def test_parts_of_one_buffer_are_read(kind: str, tmp_path: Path) -> None:
    model = network(kind)
    state = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    views = dict(zip(state, flat.split([tensor.numel() for tensor in state.values()]), strict=True))
    torch.save({name: view.view(state[name].shape) for name, view in views.items()}, tmp_path / "w.pth")
    assert_equal(loaded(kind, tmp_path / "w.pth")[0], model)


def test_a_storage_that_is_used_again_and_again_is_refused(kind: str, tmp_path: Path) -> None:
    """A file of one gigabyte can describe a hundred copies of it."""
    state = dict(network(kind).state_dict())
    shared = torch.ones(100_000)
    torch.save({"model": {**state, **{f"tied.{i}": shared for i in range(10)}}}, tmp_path / "w.pt")
    with pytest.raises(BadInput, match=r"10 unexpected: tied\.0"):
        loaded(kind, tmp_path / "w.pt")
    torch.save({"model": {**state, **{f"tied.{i}": shared for i in range(100)}}}, tmp_path / "w.pt")
    with pytest.raises(BadInput, match="more than 32 times the numbers that it holds"):
        loaded(kind, tmp_path / "w.pt")


def test_a_whole_pickled_network_in_an_entry_is_named(kind: str, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "ema": nn.Linear(2, 2), "model": nn.Linear(2, 2)}, tmp_path / "w.pt")
    with pytest.raises(BadInput, match="no state dict, but pickled objects under ema, model") as caught:
        loaded(kind, tmp_path / "w.pt")
    assert "state_dict()" in caught.value.remedy


def test_arrays_of_numpy_and_packed_weights_are_named(kind: str, tmp_path: Path) -> None:
    state = dict(network(kind).state_dict())
    torch.save({"weights": {name: tensor.numpy() for name, tensor in state.items()}}, tmp_path / "w.pt")
    with pytest.raises(BadInput, match="but pickled objects under weights"):
        loaded(kind, tmp_path / "w.pt")
    torch.save({**state, "head._packed_params.dtype": 1}, tmp_path / "w.pt")
    with pytest.raises(BadInput, match=r"not plain floating-point tensors: head\._packed_params\.dtype"):
        loaded(kind, tmp_path / "w.pt")


# --- several files ---------------------------------------------------------------------------------------


def shard(folder: Path, state: State, form: str) -> Path:
    """Weights in two files with an index, in the layout of transformers and accelerate."""
    folder.mkdir(exist_ok=True)
    stem, end = ("model", "safetensors") if form == "safetensors" else ("pytorch_model", "bin")
    names = sorted(state)
    files = {f"{stem}-0000{i + 1}-of-00002.{end}": names[i::2] for i in range(2)}
    for file, own in files.items():
        part = {name: state[name] for name in own}
        safetensors.torch.save_file(part, folder / file) if end != "bin" else torch.save(part, folder / file)
    index = folder / f"{stem}.{end}.index.json"
    weight_map = {name: file for file, own in files.items() for name in own}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_weights_in_several_files(kind: str, form: str, tmp_path: Path) -> None:
    model = network(kind)
    index = shard(tmp_path / "w", prefixed("timm_model.", dict(model.state_dict())), form)
    for path in (index, index.parent):
        state, note = loaded(kind, path)
        assert_equal(state, model)
        assert "'timm_model.'" in note


def test_the_hash_of_several_files_is_over_all_of_them(tmp_path: Path) -> None:
    state = dict(network("ours").state_dict())
    index = shard(tmp_path, state, "safetensors")
    before = read_checkpoint(index).sha256
    digest = hashlib.sha256()
    for file in sorted(tmp_path.glob("*.safetensors")):
        digest.update(f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    assert before == digest.hexdigest()
    state["weights"] = state["weights"] + 1
    assert read_checkpoint(shard(tmp_path, state, "safetensors")).sha256 != before


def test_what_is_wrong_with_several_files_is_named(tmp_path: Path) -> None:
    state = dict(network("ours").state_dict())
    index = shard(tmp_path, state, "safetensors")
    first, second = sorted(tmp_path.glob("*.safetensors"))
    with pytest.raises(BadInput, match="one of 2 files that make up the weights"):
        read_checkpoint(first)
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(BadInput, match=f"is incomplete: {second.name} is not beside it"):
        read_checkpoint(index)
    second.write_bytes(first.read_bytes())
    with pytest.raises(BadInput, match="lacks"):
        read_checkpoint(index)
    second.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match="cut off or damaged"):
        read_checkpoint(index)
    for files in ('{"a": 1}', '{"weight_map": 3}', '{"weight_map": {"a": "../b"}}', "{", '{"weight_map": {"a": ""}}'):
        index.write_text(files)
        with pytest.raises(BadInput, match=r"no index of weights|does not lie beside it"):
            read_checkpoint(index)


def test_the_hub_gives_all_files_of_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard(tmp_path, dict(network("ours").state_dict()), "safetensors")
    asked: list[str] = []

    def fetch(repo: str, filename: str, *, notify: object) -> Path:
        asked.append(filename)
        return tmp_path / Path(filename).name

    monkeypatch.setattr(hub, "fetch", fetch)
    model, weights = resolve(ModelName(TINY), "hf:some/repo/below/model.safetensors.index.json", None, lambda _: None)
    parts = sorted(each.name for each in tmp_path.glob("*.safetensors"))
    assert asked == [f"below/{name}" for name in ("model.safetensors.index.json", *parts)]
    assert_equal(dict(model.state_dict()), network("ours"))
    assert weights.source == "hf:some/repo/below/model.safetensors.index.json"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"], "model.safetensors"),
        (["pytorch_model.bin", "training_args.bin", "rng_state.pth", "optimizer.pt"], "pytorch_model.bin"),
        (["model.safetensors", "pytorch_model.bin", "config.json"], "model.safetensors"),
        (["best.pth", "log.txt"], "best.pth"),
    ],
)
def test_the_weights_of_a_folder(tmp_path: Path, names: list[str], chosen: str) -> None:
    model = network("ours")
    for name in names:
        (tmp_path / name).write_bytes(b"no weights")
    torch.save(model.state_dict(), tmp_path / chosen)
    assert_equal(loaded("ours", tmp_path)[0], model)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no file of weights"),
        (["optimizer.pt"], "no file of weights"),
        (["a.pth", "b.pth"], "2 files of weights: a.pth, b.pth"),
        (["__0_0.distcp", ".metadata"], "distributed checkpoint of PyTorch"),
        (["zero_to_fp32.py", "latest"], "DeepSpeed ZeRO"),
        (["Manifest.json"], "a Core ML package"),
    ],
)
def test_a_folder_that_is_none(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BadInput, match=said) as caught:
        read_checkpoint(tmp_path)
    assert str(tmp_path) in caught.value.cause

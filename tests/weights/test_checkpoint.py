"""Reading weights of every origin, and rejecting damaged, foreign and hostile files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import struct
import sys
import types
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from evim_deploy.catalog.variants import VARIANTS, ModelName, Variant
from evim_deploy.common.errors import BadInput
from evim_deploy.networks.efficientvim.checkpoint import Checkpoint, load_model, read_checkpoint
from evim_deploy.networks.efficientvim.model import EfficientViM

TINY = Variant(name="tiny", depths=(1, 2, 1), channels=(8, 16, 24), states=(5, 4, 3), resolution=64)
OTHER = Variant(name="other", depths=(1, 2, 1), channels=(16, 16, 24), states=(5, 4, 3), resolution=64)
CLASSES = 6


@pytest.fixture(autouse=True)
def _tiny_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    for variant in (TINY, OTHER):
        monkeypatch.setitem(VARIANTS, variant.name, variant)


def network(variant: Variant = TINY, distilled: bool = False, seed: int = 0) -> EfficientViM:
    """A network with random tensors only, so that a swap of two weights is detected."""
    torch.manual_seed(seed)
    model = EfficientViM(variant, CLASSES, distilled)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)
    return model.eval()


def state_of(variant: Variant = TINY, distilled: bool = False, seed: int = 0) -> dict[str, Tensor]:
    return dict(network(variant, distilled, seed).state_dict())


def save(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def read(path: Path, content: object, **options: Any) -> Checkpoint:
    return read_checkpoint(save(path, content, **options))


def assert_holds(checkpoint: Checkpoint, state: dict[str, Tensor]) -> None:
    expected = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert checkpoint.state.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(checkpoint.state[name], tensor, rtol=0, atol=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.any"


def outcome(path: Path) -> Checkpoint | BadInput:
    """The checkpoint, or the error of a rejected file; either is right."""
    try:
        return read_checkpoint(path)
    except BadInput as error:
        return error


class TestFormats:
    @pytest.mark.parametrize("form", ["zip", "stream", "safetensors"])
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
    def test_is_told_by_content_and_not_by_name(self, tmp_path: Path, form: str, suffix: str) -> None:
        path, state = tmp_path / f"w{suffix}", state_of()
        if form == "safetensors":
            safetensors.torch.save_file(state, path)
        else:
            save(path, state, _use_new_zipfile_serialization=form == "zip")
        checkpoint = read_checkpoint(path)
        assert_holds(checkpoint, state)
        assert checkpoint.model == ModelName(TINY)
        assert checkpoint.num_classes == CLASSES
        assert checkpoint.entry == ""
        assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_every_pickle_protocol(self, path: Path, protocol: int, zipped: bool) -> None:
        state = state_of()
        options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
        assert_holds(read(path, {"model": state}, **options), state)

    def test_views_and_parameters(self, path: Path) -> None:
        state = state_of()
        name = "stages.0.blocks.0.mixer.hz_proj.conv.weight"
        plain = state[name].clone()
        state[name] = torch.nn.Parameter(torch.stack([plain, plain * 2], dim=-1))[
            ..., 0
        ]  # strided, in a larger storage
        state["weights"] = torch.nn.Parameter(state["weights"])
        assert not state[name].is_contiguous()
        assert_holds(read(path, state), {**state, name: plain})

    def test_loaded_model_computes_the_same(self, path: Path) -> None:
        model = network(distilled=True)
        loaded = load_model(read(path, model.state_dict()), ModelName(TINY, True), None)
        images = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())
        assert not any(tensor.is_meta for tensor in loaded.state_dict().values())

    def test_loaded_model_does_not_share_memory_with_the_checkpoint(self, path: Path) -> None:
        checkpoint = read(path, state_of())
        load_model(checkpoint, ModelName(TINY), None).weights.data.zero_()
        assert checkpoint.state["weights"].abs().min() > 0

    @pytest.mark.parametrize("name", ["m1", "m4"])
    def test_published_sizes(self, path: Path, name: str) -> None:
        with torch.device("meta"):
            model = EfficientViM(VARIANTS[name], distilled=True)
        state = {key: torch.zeros(tensor.shape) for key, tensor in model.state_dict().items()}
        checkpoint = read(path, state)
        assert (checkpoint.model.short, checkpoint.num_classes) == (f"{name}_dist", 1000)


class TestEnvelopes:
    def official(self, path: Path) -> dict[str, dict[str, Tensor]]:
        """A file of the authors' script: two state dicts among an optimiser's, a config's and numpy's objects."""
        states = {"model": state_of(seed=1), "model_ema": state_of(seed=2)}
        module = types.ModuleType("yacs_stand_in")
        source = "class CfgNode(dict):\n    def __init__(self, init=None):\n        super().__init__(init or {})\n"
        exec(source, module.__dict__)
        sys.modules[module.__name__] = module
        try:
            config = module.CfgNode({"LR": 0.1, ("a", "tuple"): module.CfgNode({"inner": {1, 2}})})
            config.__dict__["__immutable__"] = True
            optimizer = torch.optim.AdamW(network().parameters())
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
            save(
                path,
                {
                    "model": OrderedDict(states["model"]),
                    "model_ema": OrderedDict(states["model_ema"]),
                    "optimizer": optimizer.state_dict(),
                    "lr_scheduler": scheduler,
                    "config": config,
                    "args": Namespace(lr=0.1, path=Path("x"), frozen=frozenset({1})),
                    "max_accuracy": sys.modules["numpy"].float64(76.1),
                    "epoch": 300,
                    "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
                    "sparse": torch.eye(3).to_sparse(),
                },
            )
        finally:
            del sys.modules[module.__name__]
        return states

    def test_official_envelope_gives_the_averaged_weights(self, path: Path) -> None:
        states = self.official(path)
        with pytest.raises(ModuleNotFoundError):  # the control: the file does need a module that is not here
            torch.load(path, weights_only=False)
        checkpoint = read_checkpoint(path)
        assert checkpoint.entry == "model_ema"
        assert_holds(checkpoint, states["model_ema"])

    @pytest.mark.parametrize("average", [None, {}, {"decay": 0.99}])
    def test_an_average_that_was_not_kept_gives_way(self, path: Path, average: object) -> None:
        state = state_of()
        checkpoint = read(path, {"model_ema": average, "model": state})
        assert checkpoint.entry == "model"
        assert_holds(checkpoint, state)

    @pytest.mark.parametrize(
        ("wrap", "entry"),
        [
            (lambda state: {"state_dict": state, "epoch": 1}, "state_dict"),
            (lambda state: {"state_dict_ema": state, "state_dict": state_of(seed=9)}, "state_dict_ema"),
            (lambda state: {"model": {"state_dict": state}}, "model.state_dict"),
            (lambda state: {**state, "epoch": 3, "args": Namespace(a=1)}, ""),
        ],
    )
    def test_other_envelopes(self, path: Path, wrap: Any, entry: str) -> None:
        state = state_of()
        checkpoint = read(path, wrap(state))
        assert checkpoint.entry == entry
        assert_holds(checkpoint, state)

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
    def test_prefixes(self, path: Path, prefix: str) -> None:
        state = state_of()
        assert_holds(read(path, {prefix + name: tensor for name, tensor in state.items()}), state)

    def test_the_same_name_under_two_prefixes(self, path: Path) -> None:
        state = state_of()
        with pytest.raises(BadInput, match="weights twice"):
            read(path, {**state, "_orig_mod.weights": state["weights"]})

    def test_timm_shapes_and_missing_counters(self, path: Path) -> None:
        state = state_of()
        flat = {
            name: tensor.flatten() if re.search(r"norm\.[0-9.]*(weight|bias)$", name) else tensor
            for name, tensor in state.items()
            if "num_batches_tracked" not in name
        }
        assert flat["norm.3.bias"].shape == (24,)
        assert flat["stages.1.blocks.1.norm.weight"].shape == (16,)
        assert_holds(read(path, flat), state)

    def test_names_are_those_of_timm(self, path: Path) -> None:
        timm = pytest.importorskip("timm", minversion="1.0.30")
        model = timm.create_model("efficientvim_m1").eval()
        loaded = load_model(read(path, model.state_dict()), ModelName(VARIANTS["m1"]), None)
        images = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            torch.testing.assert_close(loaded(images), model(images), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_floats_become_fp32(self, path: Path, dtype: torch.dtype) -> None:
        state = {name: tensor.to(dtype) for name, tensor in state_of().items()}
        checkpoint = read(path, state)
        assert {tensor.dtype for tensor in checkpoint.state.values()} == {torch.float32}
        assert_holds(checkpoint, {name: tensor.float() for name, tensor in state.items()})

    @pytest.mark.parametrize(
        "value",
        [
            torch.ones(4, dtype=torch.int8),
            torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
            torch.ones(4, dtype=torch.complex64),
            [1.0, 1.0],
        ],
        ids=["int8", "quantised", "complex", "list"],
    )
    def test_other_numbers_are_refused_by_name(self, path: Path, value: object) -> None:
        with pytest.raises(BadInput, match=r"not plain floating-point tensors: weights"):
            read(path, {**state_of(), "weights": value})


class TestRecognition:
    def test_another_network(self, path: Path) -> None:
        with pytest.raises(BadInput, match=r"not an EfficientViM checkpoint: it holds weight, bias"):
            read(path, torch.nn.Linear(2, 2).state_dict())

    def test_names_are_fit_to_be_printed(self, path: Path) -> None:
        with pytest.raises(BadInput) as caught:
            read(path, {"\x1b[2J": torch.ones(1), "\ud800": torch.ones(1), "x" * 10_000: torch.ones(1)})
        assert all(line.isprintable() for line in str(caught.value).splitlines())
        assert len(str(caught.value)) < 1000

    def test_unpublished_widths(self, path: Path) -> None:
        odd = Variant(name="odd", depths=(1, 3, 1), channels=(8, 32, 24), states=(5, 4, 2), resolution=64)
        message = r"blocks \(1, 3, 1\), channels \(8, 32, 24\), states \(5, 4, 2\)"
        with pytest.raises(BadInput, match=message):
            read(path, state_of(odd))

    @pytest.mark.parametrize(("part", "lack"), [("heads", "the classifier heads"), ("stages.1", "whole stages")])
    def test_a_part(self, path: Path, part: str, lack: str) -> None:
        state = {name: tensor for name, tensor in state_of().items() if not name.startswith(part)}
        with pytest.raises(BadInput, match=f"lacks {lack}"):
            read(path, state)

    @pytest.mark.parametrize("content", [{}, [], 3, {"epoch": 3}, {"model": None}])
    def test_no_state_dict(self, path: Path, content: object) -> None:
        with pytest.raises(BadInput, match="holds no state dict"):
            read(path, content)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_a_whole_pickled_model(self, path: Path, zipped: bool) -> None:
        with pytest.raises(BadInput, match="pickled objects") as caught:
            read(path, network(), _use_new_zipfile_serialization=zipped)
        assert "state_dict()" in caught.value.remedy


class TestLoading:
    def refusal(self, path: Path, state: dict[str, Tensor]) -> BadInput:
        checkpoint = read(path, state)
        with pytest.raises(BadInput) as caught:
            load_model(checkpoint, ModelName(TINY), None)
        return caught.value

    @pytest.mark.parametrize(
        ("found", "wanted", "message"),
        [
            (ModelName(OTHER), ModelName(TINY), "holds efficientvim_other, not efficientvim_tiny.\nUse other "),
            (
                ModelName(TINY, True),
                ModelName(TINY),
                "holds efficientvim_tiny_dist, not efficientvim_tiny.\nUse tiny_dist ",
            ),
            (ModelName(TINY), ModelName(TINY, True), "holds efficientvim_tiny, not efficientvim_tiny_dist.\nUse tiny "),
        ],
    )
    def test_another_model(self, path: Path, found: ModelName, wanted: ModelName, message: str) -> None:
        checkpoint = read(path, state_of(found.variant, found.distilled))
        with pytest.raises(BadInput, match=str(path)) as caught:
            load_model(checkpoint, wanted, None)
        assert message in str(caught.value)

    def test_number_of_classes(self, path: Path) -> None:
        checkpoint = read(path, state_of())
        assert load_model(checkpoint, ModelName(TINY), CLASSES).num_classes == CLASSES
        with pytest.raises(BadInput, match="has 6 classes, not 7"):
            load_model(checkpoint, ModelName(TINY), 7)

    def test_names_and_shapes_are_listed(self, path: Path) -> None:
        state = state_of()
        del state["stages.1.blocks.0.alpha"], state["heads.2.bias"]
        state["extra.weight"] = torch.ones(1)
        state["weights"] = torch.ones(5)
        message = self.refusal(path, state).cause
        assert "2 missing: stages.1.blocks.0.alpha, heads.2.bias" in message
        assert "1 unexpected: extra.weight" in message
        assert "1 of a wrong shape: weights (expected (4,), found (5,))" in message

    def test_long_lists_are_cut(self, path: Path) -> None:
        message = self.refusal(path, {**state_of(), **{f"extra.{i}": torch.ones(1) for i in range(25)}}).cause
        assert "25 unexpected: extra.0" in message
        assert "extra.9 and 15 more" in message
        assert "extra.10" not in message

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_numbers_that_are_none(self, path: Path, value: float) -> None:
        state = state_of()
        state["norm.1.bias"][0, 3] = value
        assert "NaN or infinity in norm.1.bias." in self.refusal(path, state).cause

    def test_too_large_for_fp32(self, path: Path) -> None:
        state = state_of()
        state["weights"] = torch.full((4,), 1e300, dtype=torch.float64)
        assert "infinity in weights." in self.refusal(path, state).cause

    def test_negative_variance(self, path: Path) -> None:
        state = state_of()
        state["patch_embed.conv.0.norm.running_var"][0] = -1e-3
        assert "a negative variance in patch_embed.conv.0.norm.running_var." in self.refusal(path, state).cause


class TestDamage:
    @pytest.mark.parametrize("form", ["zip", "stream", "safetensors"])
    @pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
    def test_cut_off(self, path: Path, form: str, share: float) -> None:
        if form == "safetensors":
            safetensors.torch.save_file(state_of(), path)
        else:
            save(path, state_of(), _use_new_zipfile_serialization=form == "zip")
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BadInput, match=str(path)) as caught:
            read_checkpoint(path)
        assert "ownload it again" in caught.value.remedy

    def test_a_flipped_bit_in_a_weight(self, path: Path) -> None:
        state = state_of()
        save(path, state)
        data = bytearray(path.read_bytes())
        place = data.find(state["weights"].numpy().tobytes())
        assert place > 0
        data[place] ^= 1
        path.write_bytes(data)
        assert not torch.equal(torch.load(path)["weights"], state["weights"])  # the control: torch.load does not see it
        with pytest.raises(BadInput, match="does not match its checksum"):
            read_checkpoint(path)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_any_flipped_byte_is_refused_or_harmless(self, path: Path, zipped: bool) -> None:
        state = state_of()
        whole = save(path, state, _use_new_zipfile_serialization=zipped).read_bytes()
        for place in range(0, len(whole), len(whole) // 150):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            result = outcome(path)
            if isinstance(result, BadInput):
                assert str(path) in result.cause
            elif zipped:  # only a zip has checksums
                assert_holds(result, state)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "empty"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
            (b"\x08\x08\x12\x07pytorch", "ONNX"),
            (b"\x1c\0\0\0TFL3", "TFLite"),
            (b"\x80", "not known"),
            (b"PK\x03\x04", "zip directory"),
            (pickle.dumps({"model": 1}), "a pickle, but not one that torch.save wrote"),
            (b"\0" * 257 + b"ustar", "tar archive"),
        ],
    )
    def test_other_files(self, path: Path, content: bytes, what: str) -> None:
        path.write_bytes(content)
        with pytest.raises(BadInput, match=what):
            read_checkpoint(path)

    def test_missing_directory_and_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path, what in (
            (tmp_path / "none", "No such file"),
            (tmp_path, "no file of weights"),
            (tmp_path / "pipe", "not a file"),
        ):
            with pytest.raises(BadInput, match=what):
                read_checkpoint(path)

    def test_foreign_zips(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", b"")
        with pytest.raises(BadInput, match=r"not one that torch\.save wrote"):
            read_checkpoint(path)

    def test_torchscript_is_not_loaded(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), path)
        monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("torch.jit.load was called"))
        with pytest.raises(BadInput, match="TorchScript"):
            read_checkpoint(path)


class Call:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced

    def __call__(self) -> None:
        """The pickler requires a callable, even for a function that only the pickle creates."""


def touch_by(way: str, mark: Path) -> object:
    """An object whose unpickling creates ``mark``."""
    shell = f"touch {mark}"
    code = f"open({str(mark)!r}, 'w').close()"
    blob = io.BytesIO()
    torch.save(Call(os.system, shell), blob)
    ways: dict[str, Any] = {
        "system": lambda: Call(os.system, shell),
        "exec": lambda: Call(exec, code),
        "open": lambda: Call(open, str(mark), "w"),
        "getattr": lambda: Call(Call(getattr, Call(__import__, "os"), "system"), shell),
        "loads": lambda: Call(pickle.loads, pickle.dumps(Call(os.system, shell))),
        "storage": lambda: Call(torch.storage._load_from_bytes, blob.getvalue()),
        "from_type": lambda: Call(torch._tensor._rebuild_from_type_v2, os.system, Namespace, (shell,), {}),
        "key": lambda: {Call(os.system, shell): 1},
        "list": lambda: [[{"a": (Call(os.system, shell),)}]],
    }
    return ways[way]()


WAYS = ["system", "exec", "open", "getattr", "loads", "storage", "from_type", "key", "list"]


class TestHostile:
    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("way", WAYS)
    def test_is_read_past_beside_real_weights(self, tmp_path: Path, way: str, zipped: bool) -> None:
        mark, state = tmp_path / "mark", state_of()
        content = {"first": touch_by(way, mark), "model": state, "last": touch_by(way, mark)}
        options = {"_use_new_zipfile_serialization": zipped}
        assert_holds(read(tmp_path / "w", content, **options), state)
        assert not mark.exists()

    @pytest.mark.parametrize("way", WAYS)
    def test_does_nothing_without_weights(self, tmp_path: Path, way: str) -> None:
        mark = tmp_path / "mark"
        with pytest.raises(BadInput):
            read(tmp_path / "w", touch_by(way, mark))
        assert not mark.exists()

    @pytest.mark.parametrize("way", ["system", "exec", "open", "getattr", "loads", "storage", "key"])
    def test_the_control_would_have_been_harmed(self, tmp_path: Path, way: str) -> None:
        mark = tmp_path / "mark"
        path = save(tmp_path / "w", {"first": touch_by(way, mark), "model": state_of()})
        torch.load(path, weights_only=False)
        assert mark.exists()

    def rewrite(self, path: Path, change: Any) -> Path:
        """The zip with a changed data.pkl and valid checksums."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                new.writestr(name, change(data) if name.endswith("/data.pkl") else data)
        path.write_bytes(buffer.getvalue())
        return path

    def with_program(self, path: Path, program: bytes) -> Path:
        """A real state dict whose pickle first runs a program and drops its result."""
        save(path, state_of())
        return self.rewrite(path, lambda data: data[:2] + program + b"0" + data[2:])

    def assert_read_past_or_refused(self, path: Path) -> None:
        result = outcome(path)
        if isinstance(result, BadInput):
            assert "pickle cannot be read" in result.cause
        else:
            assert_holds(result, state_of())

    @pytest.mark.parametrize(
        "program",
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n(N}U\x05storeK\x01stb",  # BUILD sets an attribute of our class
            b"ccollections\nOrderedDict\n(N}U\x05itemsK\x01stb",
            b"ccollections\nOrderedDict\n)R}U\x05itemsK\x01sb",
            b"cos\nsystem\n(N}U\x08__call__K\x01stb",
        ],
    )
    def test_no_attribute_can_be_set(self, path: Path, program: bytes) -> None:
        from evim_deploy.weights.checkpoint import safe_pickle

        before = {name: dict(vars(value)) for name, value in vars(safe_pickle).items() if isinstance(value, type)}
        self.assert_read_past_or_refused(self.with_program(path, program))
        assert before == {
            name: dict(vars(value)) for name, value in vars(safe_pickle).items() if isinstance(value, type)
        }

    @pytest.mark.parametrize(
        "program",
        [
            "cos\nsystem\n(X{shell}tR",  # GLOBAL, REDUCE
            "\x8c\x05shutil\x8c\x09os.system\x93X{shell}\x85R",  # STACK_GLOBAL with a dotted name
            "(X{shell}ios\nsystem\n",  # INST
            "(cos\nsystem\nX{shell}o",  # OBJ
            "cos\nsystem\nX{shell}\x85\x81",  # NEWOBJ
            "cbuiltins\nexec\nX{code}}\x92",  # NEWOBJ_EX
            "cos\nsystem\nX{shell}Q",  # BINPERSID
            "\x82\x01",  # EXT1
        ],
    )
    def test_every_opcode_that_can_call(self, path: Path, tmp_path: Path, program: str) -> None:
        mark = tmp_path / "mark"
        raw = program.encode("latin1")
        for name, text in ((b"{shell}", f"touch {mark}"), (b"{code}", f"open({str(mark)!r}, 'w')")):
            raw = raw.replace(name, struct.pack("<I", len(text)) + text.encode())
        self.assert_read_past_or_refused(self.with_program(path, raw))
        assert not mark.exists()

    def test_deeply_nested_keys_do_not_crash(self, path: Path) -> None:
        deep = b"}" + b")" + b"\x85" * 300_000 + b"K\x01s"  # {((((...),),),): 1}
        assert_holds(read_checkpoint(self.with_program(path, deep)), state_of())

    def test_shared_nested_keys_do_not_hang(self, path: Path) -> None:
        shared = b"}" + b")" + b"2\x86" * 60 + b"K\x01s"  # t = (t, t), 60 times over
        assert_holds(read_checkpoint(self.with_program(path, shared)), state_of())
        assert_holds(read_checkpoint(self.with_program(path, b"\x8f(" + b")" + b"2\x86" * 60 + b"\x90")), state_of())
        assert_holds(read_checkpoint(self.with_program(path, b"(" + b")" + b"2\x86" * 60 + b"\x91")), state_of())

    def test_a_far_memo_place_takes_no_memory(self, path: Path) -> None:
        assert_holds(read_checkpoint(self.with_program(path, b"Nr\xff\xff\xff\x7f")), state_of())

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"K\x06", b"J\x00\x00\x00\x40"),  # a class count and a storage's size become 2**30
            (b"K\x06", b"J\xff\xff\xff\xff"),  # -1
            (b"K\x04\x85", b"X\x01\x00\x00\x00a\x85"),  # a size becomes a string
            (b"K\x04\x85", b"M\xff\xff\x85"),
            (b"K\x04\x85", b"K\x04"),  # a size becomes a number
        ],
    )
    def test_sizes_that_the_storage_does_not_have(self, path: Path, old: bytes, new: bytes) -> None:
        save(path, state_of())
        changed = []
        with pytest.raises(BadInput):
            read_checkpoint(self.rewrite(path, lambda data: changed.append(old in data) or data.replace(old, new)))
        assert changed == [True]

    def test_a_repeating_view_is_refused(self, path: Path) -> None:
        with pytest.raises(BadInput, match="its storage cannot hold"):
            read(path, {**state_of(), "weights": torch.ones(1).expand(4)})
        with pytest.raises(BadInput, match="32 times the numbers that it holds"):
            read(path, {**state_of(), "weights": torch.ones(1).expand(10**12)})

    def test_a_compressed_entry_is_refused(self, path: Path) -> None:
        save(path, state_of())
        with zipfile.ZipFile(path) as old:
            entries = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name, data in entries.items():
                new.writestr(name, data)
        with pytest.raises(BadInput, match="compressed"):
            read_checkpoint(path)

    def test_a_stream_of_overstated_storages_is_refused(self, path: Path) -> None:
        whole = save(path, {"weights": torch.ones(4), **state_of()}, _use_new_zipfile_serialization=False).read_bytes()
        place = whole.rindex(struct.pack("<q", 4))
        path.write_bytes(whole[:place] + struct.pack("<q", 2**61) + whole[place + 8 :])
        with pytest.raises(BadInput, match="cut off or damaged"):
            read_checkpoint(path)


def test_a_type_of_number_that_torch_lacks(path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    with pytest.raises(BadInput, match=r"F8_E8M0|damaged"):
        read_checkpoint(path)


def test_one_class_is_no_classification(path: Path) -> None:
    model = EfficientViM(TINY, num_classes=1)
    torch.save(model.state_dict(), path)
    with pytest.raises(BadInput, match="has only 1 class"):
        load_model(read_checkpoint(path), ModelName(TINY), None)


def test_a_name_that_no_file_system_takes() -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_checkpoint(Path("x" * 5000))

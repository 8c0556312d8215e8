"""Weights in several files, and folders of them: which files to read.

An index (``model.safetensors.index.json``, ``pytorch_model.bin.index.json``) has the file of each tensor under
``weight_map``; its files lie beside it. transformers, accelerate and diffusers write such folders.
https://huggingface.co/docs/transformers/big_models
"""

from __future__ import annotations

import re
from pathlib import Path

from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import parse_json

INDEX_SUFFIX = ".index.json"

_PREFERRED = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The weights of a folder by the names that libraries give them, the preferred first."""

_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", INDEX_SUFFIX)
_OF_TRAINING = re.compile(r"(optimizer|scheduler|scaler|sampler|rng_state|random_states|training_args).*")
_PART = re.compile(r"-\d{5}-of-(\d{5})\.")
_FOREIGN_FOLDERS = {
    ".distcp": (
        "a distributed checkpoint of PyTorch",
        "Convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.",
    ),
    "zero_to_fp32.py": ("a checkpoint of DeepSpeed ZeRO", "Convert it with the zero_to_fp32.py in it."),
    "Manifest.json": ("a Core ML package", "Give a file of weights."),
    "saved_model.pb": ("a SavedModel of TensorFlow", "Give a file of weights."),
}


def weights_in(folder: Path) -> Path:
    """The one file of weights in a folder, or its index.

    Raises:
        BadInput: There is none, or there are several.
    """
    names = sorted(each.name for each in folder.iterdir() if each.is_file())
    for name in _PREFERRED:
        if name in names:
            return folder / name
    for end, (kind, remedy) in _FOREIGN_FOLDERS.items():
        if any(name.endswith(end) for name in names):
            raise BadInput(f"{folder} is {kind}.", remedy)
    found = [
        name
        for name in names
        if name.endswith(_SUFFIXES) and not _OF_TRAINING.fullmatch(name) and parts_with(folder / name) == 1
    ]
    if len(found) != 1:
        what = f"{len(found)} files of weights: {', '.join(found[:5])}" if found else "no file of weights"
        raise BadInput(f"{folder} is a folder that has {what}.", "Give the path of a weights file.")
    return folder / found[0]


def weights_name(path: Path) -> str:
    """What manifests call weights at a path, which :func:`weights_in` finds in a folder: the name of their file alone.

    The same weights in another folder make the same artifact, and no artifact tells where its maker keeps files.
    """
    return (weights_in(path) if path.is_dir() else path).name


def parts_with(path: Path) -> int:
    """How many files, by the name of one of them, make up the weights."""
    match = _PART.search(path.name)
    return int(match[1]) if match else 1


def weight_map(index: Path) -> dict[str, str]:
    """The name of the file of each tensor, files that lie beside the index.

    Raises:
        BadInput: It is no index.
    """
    try:
        files = parse_json(index.read_bytes())["weight_map"]
        is_map = isinstance(files, dict) and all(isinstance(file, str) for file in files.values())
    except (ValueError, KeyError, TypeError):
        is_map = False
    if not is_map:
        raise BadInput(f"{index} is a JSON file, but no index of weights.", "Give the path of a weights file.")
    outside = [file for file in files.values() if not file or Path(file).name != file or "\\" in file]
    if outside:
        raise BadInput(f"{index} names {outside[0]!r}, which does not lie beside it.", "Give one whose files do.")
    return dict(files)

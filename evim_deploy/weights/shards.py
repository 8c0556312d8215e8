"""The files to read of weights in several files, or in a folder.

An index (``model.safetensors.index.json``, ``pytorch_model.bin.index.json``) names the file of each tensor under
``weight_map``; the files lie beside it. transformers, accelerate and diffusers write such folders.
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
"""File names that libraries use for weights, in order of preference."""

_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", INDEX_SUFFIX)
_TRAINING_STATE = re.compile(r"(optimizer|scheduler|scaler|sampler|rng_state|random_states|training_args).*")
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
        BadInput: The folder has no such file, or several.
    """
    names = sorted(each.name for each in folder.iterdir() if each.is_file())
    for name in _PREFERRED:
        if name in names:
            return folder / name
    for end, (kind, remedy) in _FOREIGN_FOLDERS.items():
        if any(name.endswith(end) for name in names):
            raise BadInput(f"{folder} is {kind}.", remedy)
    candidates = [
        name
        for name in names
        if name.endswith(_SUFFIXES) and not _TRAINING_STATE.fullmatch(name) and parts_with(folder / name) == 1
    ]
    if len(candidates) != 1:
        several = f"{len(candidates)} files of weights: {', '.join(candidates[:5])}"
        content = several if candidates else "no file of weights"
        raise BadInput(f"{folder} is a folder that has {content}.", "Give the path of a weights file.")
    return folder / candidates[0]


def weights_name(path: Path) -> str:
    """The name of weights in manifests: the name of their file, without folders.

    The same weights in another folder make the same artifact, and an artifact does not reveal a user's folders.
    """
    return (weights_in(path) if path.is_dir() else path).name


def parts_with(path: Path) -> int:
    """Number of files that make up the weights, from the name of one of them."""
    match = _PART.search(path.name)
    return int(match[1]) if match else 1


def weight_map(index: Path) -> dict[str, str]:
    """The name of the file of each tensor; the files lie beside the index.

    Raises:
        BadInput: The file is not an index, or names a file in another folder.
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

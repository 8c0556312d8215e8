"""Labelled data of users: its classes in an artifact's labels, and refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from evim_deploy.accuracy.classes import match
from evim_deploy.accuracy.data import open_data
from evim_deploy.accuracy.label_file import GROUND_TRUTH
from evim_deploy.accuracy.stream import Prepare, stream
from evim_deploy.catalog.labels import imagenet_labels
from evim_deploy.common.errors import BadInput
from evim_deploy.images.preprocessing import PAPER, open_image, resize_and_crop

ANIMALS = ("cat", "great white shark", "Zebra")
VAL = [f"ILSVRC2012_val_0000000{number}" for number in (1, 2, 3)]


def write_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def folders(base: Path, *names: str) -> Path:
    """Two images in a folder of each name."""
    for number, name in enumerate(names):
        for each in "ab":
            write_image(base / name / f"{each}.png", number)
    return base


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Three images of ImageNet's names, without labels."""
    for seed, name in enumerate(VAL):
        write_image(tmp_path / f"{name}.JPEG", seed)
    return tmp_path


# --- what is found


def test_class_folders(tmp_path: Path) -> None:
    result = open_data(str(folders(tmp_path, *ANIMALS)), None)
    assert result.layout == "class folders"
    assert result.images == tuple(f"{name}/{each}.png" for name in sorted(ANIMALS) for each in "ab")
    assert result.groups == ("Zebra", "Zebra", "cat", "cat", "great white shark", "great white shark")
    assert np.array_equal(np.asarray(result.open(2)), np.asarray(open_image(tmp_path / "cat" / "a.png")))


def test_what_is_no_image_or_hidden_is_passed_over(tmp_path: Path) -> None:
    folders(tmp_path, "cat")
    (tmp_path / "README.txt").touch()
    (tmp_path / "cat" / "Thumbs.db").touch()
    write_image(tmp_path / ".cache" / "a.png")
    write_image(tmp_path / "cat" / ".cache" / "a.png")
    write_image(tmp_path / "cat" / "kittens" / "c.JPG")
    assert open_data(str(tmp_path), None).images == ("cat/a.png", "cat/b.png", "cat/kittens/c.JPG")


@pytest.mark.parametrize(
    ("name", "lines", "groups"),
    [
        ("val.txt", [f"{VAL[1]}.JPEG 7", f"{VAL[0]}.JPEG 65", f"{VAL[2]}.JPEG 970"], ["65", "7", "970"]),
        ("val.txt", [f"val/{name}.JPEG\tgreat white shark" for name in VAL], ["great white shark"] * 3),
        ("labels.csv", [f"{name},tench, Tinca tinca" for name in VAL], ["tench, Tinca tinca"] * 3),
        (
            "LOC_val_solution.csv",
            [
                "ImageId,PredictionString",
                *(f"{name},n0144076{index} 1 2 3 4 n1 5 6 7 8" for index, name in enumerate(VAL)),
            ],
            ["n01440760", "n01440761", "n01440762"],
        ),
        ("imagenet_2012_validation_synset_labels.txt", ["n3", "n1", "n2"], ["n3", "n1", "n2"]),
        ("labels.txt", ["2", "", "0", "1"], ["2", "0", "1"]),
    ],
)
def test_files_of_labels(flat: Path, name: str, lines: list[str], groups: list[str]) -> None:
    (flat / name).write_text("\n".join(lines) + "\n", "utf-8")
    result = open_data(str(flat), None)
    assert (result.groups, result.layout) == (tuple(groups), f"labels of {name}")
    (flat / name).rename(flat / "other.csv" if name.endswith("csv") else flat / "other")
    named = open_data(str(flat), flat / ("other.csv" if name.endswith("csv") else "other"))
    assert named.groups == result.groups


def test_the_development_kits_numbers_are_in_an_order_of_its_own(flat: Path) -> None:
    (flat / GROUND_TRUTH).write_text("490\n361\n171\n")
    with pytest.raises(BadInput, match=r"in the order of meta\.mat of the development kit"):
        open_data(str(flat), None)
    synsets = np.zeros(3, [("ILSVRC2012_ID", float), ("WNID", object), ("words", object)])
    for row, (number, wordnet_id) in zip(synsets, [(171, "n3"), (361, "n1"), (490, "n2")], strict=True):
        row["ILSVRC2012_ID"], row["WNID"], row["words"] = number, wordnet_id, "a word"
    savemat(flat / "meta.mat", {"synsets": synsets})
    assert open_data(str(flat), None).groups == ("n2", "n1", "n3")
    (flat / GROUND_TRUTH).write_text("490\n361\n999\n")
    with pytest.raises(BadInput, match="lacks: 999"):
        open_data(str(flat), None)
    (flat / "meta.mat").write_bytes(b"no" * 200)
    with pytest.raises(BadInput, match="is damaged"):
        open_data(str(flat), None)


def test_the_order_is_a_sample_however_many_are_taken(tmp_path: Path) -> None:
    result = open_data(str(folders(tmp_path, *(f"class {index}" for index in range(20)))), None)
    assert sorted(result.order) == list(range(40))
    assert result.order.tolist() == result.order.tolist()
    assert len({result.groups[place] for place in result.order[:10]}) > 5


def test_another_image_or_class_is_other_data(tmp_path: Path) -> None:
    folders(tmp_path / "one", "a", "b")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (open_data(str(tmp_path / name), None) for name in ("one", "two"))
    assert one.identity == two.identity
    (tmp_path / "two" / "b").rename(tmp_path / "two" / "c")
    assert open_data(str(tmp_path / "two"), None).identity != one.identity
    write_image(tmp_path / "one" / "a" / "a.png", 5)
    (tmp_path / "one" / "a" / "a.png").write_bytes((tmp_path / "one" / "a" / "a.png").read_bytes() + b"\0")
    assert open_data(str(tmp_path / "one"), None).identity != one.identity


# --- what is refused


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda path: path / "none", "No such file"),
        (lambda path: write_image(path / "a.png"), "Not a directory"),
        (lambda path: path, "has no images"),
        (lambda path: (path / "cat").mkdir() or path, "has no images"),
        (lambda path: write_image(path / "a.png").parent, "has images without labels"),
        (lambda path: write_image(folders(path, "cat") / "a.png").parent, "and folders with images"),
    ],
)
def test_folders_that_are_no_data(tmp_path: Path, make: object, fragment: str) -> None:
    with pytest.raises(BadInput, match=fragment):
        open_data(str(make(tmp_path)), None)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("lines", "fragment"),
    [
        ([f"{name}.JPEG 1" for name in VAL[:2]], f"has no label for {VAL[2]}.JPEG"),
        ([f"{name}.JPEG 1" for name in [*VAL, "x"]], r"missing images: x\.JPEG"),
        ([f"{name}.JPEG 1" for name in VAL] + [f"{VAL[0]}.JPEG 2"], "two classes"),
        ([f"{VAL[0]}.JPEG 1", f"{VAL[1]}.JPEG", f"{VAL[2]}.JPEG 1"], "no class"),
        (["1", "2"], "has 2 labels, and there are 3 images"),
        ([], "has 0 labels"),
    ],
)
def test_files_of_labels_that_do_not_fit(flat: Path, lines: list[str], fragment: str) -> None:
    (flat / "val.txt").write_text("\n".join(lines))
    with pytest.raises(BadInput, match=fragment):
        open_data(str(flat), None)


def test_files_of_labels_that_cannot_be_read(flat: Path) -> None:
    with pytest.raises(BadInput, match="Label file not found:"):
        open_data(str(flat), flat / "none.txt")
    with pytest.raises(BadInput, match="cannot be read as text"):
        open_data(str(flat), flat / f"{VAL[0]}.JPEG")
    for name in ("val.txt", "labels.txt"):
        (flat / name).write_text("1\n1\n1\n")
    with pytest.raises(BadInput, match=r"several label files: val\.txt, labels\.txt"):
        open_data(str(flat), None)


def test_class_folders_take_no_file_of_labels(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Leave out --labels"):
        open_data(str(folders(tmp_path, "cat")), tmp_path / "val.txt")


# --- the artifact's classes


@pytest.mark.parametrize(
    ("names", "labels", "rule", "indices"),
    [
        (ANIMALS, ANIMALS, "names", (0, 1, 2)),
        (("GREAT_white_shark", "zebra"), ANIMALS, "names", (1, 2)),
        (("9", "0"), tuple("0123456789")[::-1], "names", (0, 9)),  # labels that are numbers are names
        (("a_b",), ("a b", "a_b"), "names", (1,)),  # nothing else tells these labels apart
        (("0002", "0"), ANIMALS, "indices", (2, 0)),
        (("n01443537", "n15075141"), imagenet_labels(), "wordnet", (1, 999)),
        (("x", "n01443537", "b"), ANIMALS, "sorted", (2, 1, 0)),
        (("10", "9", "11"), ANIMALS, "sorted", (0, 2, 1)),  # none of them an index
    ],
)
def test_classes_are_matched(
    names: tuple[str, ...], labels: tuple[str, ...], rule: str, indices: tuple[int, ...]
) -> None:
    result = match(names, sorted(names), labels, None)
    assert (result.rule, tuple(result.labels)) == (rule, indices)


@pytest.mark.parametrize(
    ("names", "labels", "fragment"),
    [
        (
            ("cat", "dog", "Zebra"),
            ANIMALS,
            "1 of them are not among the artifact's 3 by the artifact's own labels: 'dog'",
        ),
        (("1", "2", "3"), ANIMALS, "1 of them .* numbers from 0 .*: '3'"),
        (("n01443537", "n99999999"), imagenet_labels(), "'n99999999'"),
        (("x", "y"), ANIMALS, "2 classes, 'x' the first, and the artifact has 3, 'cat' the first"),
    ],
)
def test_classes_that_the_artifact_does_not_have(
    names: tuple[str, ...], labels: tuple[str, ...], fragment: str
) -> None:
    with pytest.raises(BadInput, match=fragment):
        match(names, names, labels, None)


def test_a_rule_that_is_said_counts() -> None:
    """ImageFolder's order is 1, 10, 2, which only the user can know."""
    names = ("1", "10", "2")
    assert tuple(match(names, names, ANIMALS, "sorted").labels) == (0, 1, 2)
    with pytest.raises(BadInput, match="own labels: '1', '10', '2'"):
        match(names, names, ANIMALS, "names")


# --- on the way to the artifact


def sized(height: int, width: int) -> Prepare:
    return lambda image: resize_and_crop(image, height, width, PAPER)


def test_images_come_in_full_batches_without_those_that_cannot_be_read(tmp_path: Path) -> None:
    data = folders(tmp_path, "a", "b", "c", "d")
    (data / "b" / "a.png").write_bytes(b"no image")
    result = open_data(str(data), None)
    got = list(stream(result, [7, 2, 0, 1, 3, 4, 5], 3, sized(8, 12)))
    assert [batch.images for batch in got] == [(7, 0, 1), (3, 4, 5)]
    assert [batch.unreadable for batch in got] == [(2,), ()]
    expected = resize_and_crop(open_image(data / "a" / "a.png"), 8, 12, PAPER)
    assert np.array_equal(got[0].inputs[1], expected)
    (last,) = stream(result, [2], 3, sized(8, 12))
    assert (last.images, last.unreadable, len(last.inputs)) == ((), (2,), 0)


def test_no_more_than_two_batches_are_decoded_ahead(tmp_path: Path) -> None:
    result = open_data(str(folders(tmp_path, "a", "b", "c", "d")), None)
    opened: list[int] = []
    watched = type(result)(**{**vars(result), "open": lambda place: opened.append(place) or result.open(place)})
    batches = stream(watched, range(8), 2, sized(8, 8))
    next(batches)
    assert len(opened) <= 4
    batches.close()  # type: ignore[attr-defined]
    assert len(opened) <= 4

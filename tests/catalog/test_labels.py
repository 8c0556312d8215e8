"""Names of the classes: those that ship, those a user gives, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evim_deploy.catalog.labels import class_labels, imagenet_labels
from evim_deploy.common.errors import BadInput


def test_imagenet_has_1000_names_each_once() -> None:
    labels = imagenet_labels()
    assert len(labels) == len(set(labels)) == 1000
    assert all(label == label.strip() and label for label in labels)


@pytest.mark.parametrize(
    ("index", "word"),
    [
        (0, "tench"),
        (1, "goldfish"),
        (207, "golden retriever"),
        (281, "tabby"),
        (282, "tiger cat"),
        (657, "missile"),
        (812, "space shuttle"),
        (967, "espresso"),
        (999, "toilet"),
    ],
)
def test_imagenet_is_in_the_order_of_the_logits(index: int, word: str) -> None:
    assert word in imagenet_labels()[index].lower()


@pytest.mark.parametrize("index", [(134, 517), (638, 639), (836, 837)])
def test_synsets_that_share_a_name_are_told_apart(index: tuple[int, int]) -> None:
    """crane and crane, maillot and maillot, sunglass and sunglasses."""
    first, second = (imagenet_labels()[i] for i in index)
    assert first.lower() != second.lower()


def test_without_a_file_imagenets_names_are_taken_for_its_1000_classes() -> None:
    assert class_labels(1000, None) == imagenet_labels()


@pytest.mark.parametrize("number", [2, 3, 999, 1001])
def test_without_a_file_other_classes_are_numbered(number: int) -> None:
    labels = class_labels(number, None)
    assert len(labels) == number
    assert (labels[0], labels[-1]) == ("class 0", f"class {number - 1}")


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog\nGröße\n",
        "cat\ndog\nGröße",
        "cat\r\ndog\r\nGröße\r\n",
        "\ufeffcat\ndog\nGröße\n",
        "  cat \n\n dog\n\nGröße\n\n\n",
        '["cat", "dog", "Größe"]',
        '\n  ["cat",\n "dog", "Gr\\u00f6\\u00dfe"]\n',
        '\ufeff["cat", "dog", "Größe"]',
    ],
    ids=["text", "no-last-newline", "dos", "byte-order-mark", "blanks", "json", "json-spread", "json-byte-order-mark"],
)
def test_labels_from_a_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode())
    assert class_labels(3, path) == ("cat", "dog", "Größe")


def test_a_users_file_takes_the_place_of_imagenets_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(f"own {index}" for index in range(1000)))
    assert class_labels(1000, path)[7] == "own 7"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cat\ndog\n", "names 2 classes, the model has 3"),
        (b"", "names 0 classes"),
        (b"a\nb\nc\nd\n", "names 4 classes"),
        (b"cat\ndog\ncat\n", "'cat' more than once"),
        (b'["cat", "dog", "cat"]', "'cat' more than once"),
        (b'["cat", "dog"', "not valid JSON"),
        (b'["cat", "dog", 3]', "not a name"),
        (b'["cat", "dog", ""]', "not a name"),
        (b'["cat", "dog", null]', "not a name"),
        (b'["cat", "dog", ["bird"]]', "not a name"),
        (b'["cat", "big\\ndog", "bird"]', r"'big\ndog', which is not one line"),
        (b'["cat", "big\\rdog", "bird"]', "not one line"),
        (b'["cat", "big\\u2028dog", "bird"]', "not one line"),
        (b'["cat", "dog\\u0000", "bird"]', "not one line"),
        (b'["cat", "dog\\ud800", "bird"]', "not one line"),
        (b"cat\ndog\0\nbird", "not one line"),
        (b"\xff\xfe\x00\x01", "cannot be read as text"),
    ],
)
def test_labels_that_will_not_do(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        class_labels(3, path)
    assert words in caught.value.cause
    assert str(path) in caught.value.cause
    assert caught.value.remedy


def test_odd_characters_in_a_line_are_kept(tmp_path: Path) -> None:
    labels = ("n01440764\ttench", "a, b", "👩\u200d🔬", "日本語", "no-break\u00a0space")
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(labels), "utf-8")
    assert class_labels(len(labels), path) == labels


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Label file not found:"):
        class_labels(3, tmp_path / "labels.txt")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        class_labels(3, tmp_path)


@pytest.mark.parametrize("content", ['["cat", " dog ", "bird"]', '["cat", "dog", "   "]'])
def test_blanks_in_json_names_do_not_reach_the_artifact(tmp_path: Path, content: str) -> None:
    """As in a text file: they are cut off, and a name of blanks alone is none."""
    path = tmp_path / "labels.json"
    path.write_text(content)
    try:
        labels = class_labels(3, path)
    except BadInput:
        return
    assert labels == tuple(label.strip() for label in labels)
    assert all(labels)


def test_a_json_object_by_index(tmp_path: Path) -> None:
    """As id2label of a config.json; in the order of the numbers, not of the text."""
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({str(i): f"name {i}" for i in (10, 2, 0, 1, *range(3, 10))}))
    assert class_labels(11, path) == tuple(f"name {i}" for i in range(11))
    path.write_text(json.dumps({"1": "one", "2": "two"}))
    with pytest.raises(BadInput, match="not a name"):
        class_labels(2, path)

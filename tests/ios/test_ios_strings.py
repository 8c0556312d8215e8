"""String catalogues of the demo app: they contain exactly the displayed strings, in both languages."""

from __future__ import annotations

import json
import plistlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from swift_strings import Literal, all_literals, literals

ROOT = Path(__file__).parents[2] / "ios-demo"
APP = ROOT / "EvimDemo"
LANGUAGES = {"en", "de"}

# Calls with a key of the catalogue as an argument, and the label of the argument.
LOCALISED = {
    *((view, "") for view in ("Text", "Label", "Button", "Section", "Picker", "ProgressView", "LabeledContent")),
    *((view, "") for view in ("NavigationLink", "PhotosPicker", "LocalizedStringResource")),
    *((modifier, "") for modifier in ("navigationTitle", "accessibilityLabel", "value", "chartXAxisLabel")),
    ("chartYAxisLabel", ""),
    ("String", "localized"),
}
# Calls that show a text without translation: it may have digits and punctuation, but no words.
VERBATIM = {("Text", "verbatim"), ("LabeledContent", "value")}
# Calls whose text is not visible in the app.
HIDDEN = {
    ("Image", "systemName"),
    ("Label", "systemImage"),
    ("NSDataAsset", "name"),
    ("DispatchQueue", "label"),
    ("object", "forInfoDictionaryKey"),
    ("url", "forResource"),
    ("appending", "component"),
    ("appendingPathExtension", ""),
    ("hasPrefix", ""),
    ("joined", "separator"),
    ("Data", ""),  # a line for the standard output
    ("write", ""),
    ("usage", ""),
}
# Literals outside of calls, and their purpose.
PLAIN = {
    "mlpackage": "a file's extension",
    "json": "a file's extension",
    "evim-%@-%@-%@.json": "a file's name",
    "%@, %@": "an identity",
    "EvimDemo": "the app's name in a results file",
    "(debug build)": "of the app's name in a results file",
}


def shown() -> list[Literal]:
    """The literals that are keys of the catalogue."""
    return [literal for literal in all_literals(APP) if (literal.call, literal.label) in LOCALISED]


def _catalogue(name: str) -> dict[str, dict[str, str]]:
    """The translations of each key of a catalogue, by language; in the source language the key itself."""
    document = json.loads((APP / "Resources" / name).read_text("utf-8"))
    assert (document["sourceLanguage"], document["version"]) == ("en", "1.0")
    found = {}
    for key, entry in document["strings"].items():
        units = {name: each["stringUnit"] for name, each in entry["localizations"].items()}
        assert {unit["state"] for unit in units.values()} == {"translated"}, key
        found[key] = {"en": key} | {language: unit["value"] for language, unit in units.items()}
    return found


def _specifiers(text: str) -> list[str]:
    """The format specifiers in the order of their arguments."""
    found = re.findall(r"%(?:(\d+)\$)?(@|l?l?[du]|l?f|%)", text)
    return [kind for _, kind in sorted((int(place or index), kind) for index, (place, kind) in enumerate(found, 1))]


def test_every_literal_is_classified_as_visible_or_hidden() -> None:
    unknown = [
        literal
        for literal in all_literals(APP)
        if (literal.call, literal.label) not in LOCALISED | VERBATIM | HIDDEN
        and not (literal.call == "" and literal.key in PLAIN)
    ]
    assert not unknown


def test_untranslated_text_has_no_words() -> None:
    for literal in all_literals(APP):
        if (literal.call, literal.label) in VERBATIM:
            assert not re.search(r"[^\W\d_]", literal.key.replace("%@", "")), literal


def test_catalogue_has_exactly_the_visible_strings() -> None:
    assert {literal.key for literal in shown()} == set(_catalogue("Localizable.xcstrings"))


@pytest.mark.parametrize("name", ["Localizable.xcstrings", "InfoPlist.xcstrings"])
def test_every_string_is_in_both_languages_with_the_same_arguments(name: str) -> None:
    for key, values in _catalogue(name).items():
        assert set(values) == LANGUAGES, key
        assert all(value.strip() for value in values.values()), key
        assert len({tuple(_specifiers(value)) for value in values.values()}) == 1, key


def test_strings_with_several_arguments_number_them() -> None:
    """The order of arguments may differ between languages."""
    for key, values in _catalogue("Localizable.xcstrings").items():
        if key.count("%@") > 1:
            assert all(not re.search(r"%[@dlf]", value) for value in values.values()), key


def test_visible_strings_have_no_literal_percent_sign() -> None:
    """A percent sign would be parsed as a format specifier."""
    assert not [literal for literal in shown() if "%" in literal.key.replace("%@", "")]


def test_camera_request_has_a_usage_description() -> None:
    reason = _catalogue("InfoPlist.xcstrings")["NSCameraUsageDescription"]
    assert all(value.endswith(".") for value in reason.values())
    assert "AVCaptureDevice.requestAccess" in (APP / "Classify" / "Camera.swift").read_text("utf-8")
    project = (ROOT / "EvimDemo.xcodeproj" / "project.pbxproj").read_text("utf-8")
    assert f'INFOPLIST_KEY_NSCameraUsageDescription = "{reason["en"]}";' in project


def test_privacy_manifest_matches_the_sources() -> None:
    manifest = plistlib.loads((APP / "Resources" / "PrivacyInfo.xcprivacy").read_bytes())
    assert manifest == {
        "NSPrivacyTracking": False,
        "NSPrivacyTrackingDomains": [],
        "NSPrivacyCollectedDataTypes": [],
        "NSPrivacyAccessedAPITypes": [],
    }
    sources = "".join(_sources())
    # each requires a reason: developer.apple.com/documentation/bundleresources/describing-use-of-required-reason-api
    for name in ("UserDefaults", "AppStorage", "systemUptime", "mach_absolute_time", "volumeAvailableCapacity"):
        assert name not in sources
    for name in ("ModificationDate", "creationDate", "contentModificationDateKey", "statfs", "activeInputModes"):
        assert name not in sources


def _sources() -> Iterator[str]:
    for folder in (APP, ROOT / "EvimKit" / "Sources"):
        for path in sorted(folder.rglob("*.swift")):
            yield path.read_text("utf-8")


@pytest.mark.parametrize(
    ("code", "key", "call", "label"),
    [
        ('Text("Pass")', "Pass", "Text", ""),
        ('.value("Median", bucket.median)', "Median", "value", ""),
        ('Label("About", systemImage: "info.circle")', "info.circle", "Label", "systemImage"),
        ('String(localized: "\\(number) ms")', "%@ ms", "String", "localized"),
        ('Text("\\(a.b("c")), at most \\(d)")', "%@, at most %@", "Text", ""),
        ('Text("""\n    One line \\\n    and the same.\n    """)', "One line and the same.", "Text", ""),
        ('// Text("no")\nText("yes") /* Text("no") */', "yes", "Text", ""),
        ('let name = "plain"', "plain", "", ""),
        ('Text("a \\"quoted\\" word")', 'a "quoted" word', "Text", ""),
    ],
)
def test_scanner_returns_a_literal_and_its_call(tmp_path: Path, code: str, key: str, call: str, label: str) -> None:
    path = tmp_path / "Source.swift"
    path.write_text(code)
    found = [(literal.key, literal.call, literal.label) for literal in literals(path)]
    assert (key, call, label) in found
    assert "no" not in {key for key, _, _ in found}

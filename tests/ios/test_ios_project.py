"""The Xcode project is complete and matches XcodeGen's project.yml."""

from __future__ import annotations

import json
import plistlib
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from pbxproj import XcodeProject
from PIL import Image
from xcode_project import Spec, of_project, of_scheme, of_spec, of_spec_scheme, parse

from evim_deploy import __version__

ROOT = Path(__file__).parents[2] / "ios-demo"
PROJECT = ROOT / "EvimDemo.xcodeproj" / "project.pbxproj"
SCHEME = PROJECT.parent / "xcshareddata" / "xcschemes" / "EvimDemo.xcscheme"
ASSETS = ROOT / "EvimDemo" / "Resources" / "Assets.xcassets"

REFERENCE = re.compile(r"[0-9A-F]{24}")


@pytest.fixture(scope="module")
def document() -> Spec:
    """The parsed project file."""
    return parse(PROJECT.read_text("utf-8"))


@pytest.fixture(scope="module")
def spec() -> Spec:
    """The parsed project.yml of XcodeGen."""
    found: Spec = yaml.safe_load((ROOT / "project.yml").read_text("utf-8"))
    return found


def _references(value: Any) -> Iterator[str]:
    """All object ids in a value, including keys of dictionaries."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _references(key)
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif REFERENCE.fullmatch(value):
        yield value


def test_pbxproj_package_reads_the_project() -> None:
    project = XcodeProject.load(str(PROJECT))
    assert [target.name for target in project.objects.get_targets()] == ["EvimDemo", "EvimDemoTests"]
    assert project.objectVersion == "77"


def test_every_reference_resolves_and_every_object_is_referenced(document: Spec) -> None:
    objects = document["objects"]
    assert set(_references(document["objects"] | {"root": document["rootObject"]})) == set(objects)
    reached, open_ = set(), [document["rootObject"]]
    while open_:
        id_ = open_.pop()
        if id_ not in reached:
            reached.add(id_)
            open_.extend(_references(objects[id_]))
    assert reached == set(objects)


def test_every_reference_has_an_object_of_the_right_kind(document: Spec) -> None:
    objects = document["objects"]
    kinds = {
        "fileRef": {"PBXFileReference"},
        "productRef": {"XCSwiftPackageProductDependency"},
        "package": {"XCLocalSwiftPackageReference"},
        "buildConfigurationList": {"XCConfigurationList"},
        "buildConfigurations": {"XCBuildConfiguration"},
        "buildPhases": {"PBXSourcesBuildPhase", "PBXFrameworksBuildPhase", "PBXResourcesBuildPhase"},
        "dependencies": {"PBXTargetDependency"},
        "fileSystemSynchronizedGroups": {"PBXFileSystemSynchronizedRootGroup"},
        "files": {"PBXBuildFile"},
        "packageProductDependencies": {"XCSwiftPackageProductDependency"},
        "packageReferences": {"XCLocalSwiftPackageReference"},
        "productReference": {"PBXFileReference"},
        "target": {"PBXNativeTarget"},
        "targets": {"PBXNativeTarget"},
        "targetProxy": {"PBXContainerItemProxy"},
        "containerPortal": {"PBXProject"},
        "remoteGlobalIDString": {"PBXNativeTarget"},
        "TestTargetID": {"PBXNativeTarget"},
        "mainGroup": {"PBXGroup"},
        "productRefGroup": {"PBXGroup"},
        "children": {"PBXGroup", "PBXFileReference", "PBXFileSystemSynchronizedRootGroup"},
    }
    for owner in objects.values():
        for key, value in owner.items():
            found = {objects[id_]["isa"] for id_ in _references(value)} if key != "attributes" else set()
            assert found <= kinds.get(key, set()), (owner["isa"], key)


def test_every_path_exists(document: Spec) -> None:
    paths = [each for each in document["objects"].values() if each.get("sourceTree") == "<group>" and "path" in each]
    assert {each["path"] for each in paths} == {"EvimDemo", "EvimDemoTests", "Models", "EvimDemo-Info.plist"}
    for each in paths:
        path = ROOT / each["path"]
        is_folder = each["isa"] == "PBXFileSystemSynchronizedRootGroup" or each["lastKnownFileType"] == "folder"
        assert path.is_dir() if is_folder else path.is_file()
    packages = of_project(document)["packages"]
    assert all((ROOT / path / "Package.swift").is_file() for path in packages)


def test_package_has_the_linked_products(document: Spec) -> None:
    manifest = (ROOT / "EvimKit" / "Package.swift").read_text("utf-8")
    for product in of_project(document)["targets"]["EvimDemo"]["products"]:
        assert f'.library(name: "{product}"' in manifest
    assert ".iOS(.v17)" in manifest


def test_project_matches_the_spec(document: Spec, spec: Spec) -> None:
    assert of_project(document) == of_spec(spec)
    assert spec["name"] == PROJECT.parent.stem
    assert spec["options"]["projectFormat"] == "xcode16_0"


def test_scheme_matches_the_spec(spec: Spec) -> None:
    assert of_scheme(SCHEME.read_text("utf-8")) == of_spec_scheme(spec["schemes"][SCHEME.stem])


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["settings"]["base"].update(IPHONEOS_DEPLOYMENT_TARGET="16.0"),
        lambda spec: spec["settings"]["configs"]["Debug"].pop("ENABLE_TESTABILITY"),
        lambda spec: spec["targets"]["EvimDemo"]["settings"].update(PRODUCT_BUNDLE_IDENTIFIER="another"),
        lambda spec: spec["targets"]["EvimDemo"]["sources"].pop(),
        lambda spec: spec["targets"]["EvimDemo"]["dependencies"].clear(),
        lambda spec: spec["targets"]["EvimDemoTests"].update(type="application"),
        lambda spec: spec["targets"]["EvimDemoTests"]["dependencies"].clear(),
        lambda spec: spec["packages"]["EvimKit"].update(path="Elsewhere"),
        lambda spec: spec["options"].update(defaultConfig="Debug"),
        lambda spec: spec["targets"].pop("EvimDemoTests"),
    ],
)
def test_changed_spec_is_detected(document: Spec, spec: Spec, change: Callable[[Spec], Any]) -> None:
    changed = deepcopy(spec)
    change(changed)
    assert of_project(document) != of_spec(changed)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SWIFT_VERSION = 6.0;", "SWIFT_VERSION = 5.0;"),
        ("relativePath = EvimKit;", "relativePath = ../EvimKit;"),
        ("path = Models;", "path = Model;"),
        ('productType = "com.apple.product-type.application";', 'productType = "com.apple.product-type.tool";'),
    ],
)
def test_changed_project_is_detected(spec: Spec, before: str, after: str) -> None:
    text = PROJECT.read_text("utf-8")
    assert before in text
    assert of_project(parse(text.replace(before, after))) != of_spec(spec)


def test_changed_scheme_is_detected(spec: Spec) -> None:
    text = SCHEME.read_text("utf-8").replace('isEnabled = "NO"', 'isEnabled = "YES"')
    assert of_scheme(text) != of_spec_scheme(spec["schemes"][SCHEME.stem])


def test_dangling_reference_is_detected(document: Spec) -> None:
    (app,) = (id_ for id_, each in document["objects"].items() if each.get("name") == "EvimDemo")
    broken = parse(PROJECT.read_text("utf-8").replace(f"target = {app}", f"target = {'0' * 24}"))["objects"]
    assert set(_references(broken)) - set(broken) == {"0" * 24}


def test_scheme_refers_to_the_targets_of_the_project(document: Spec) -> None:
    objects = document["objects"]
    for reference in ElementTree.fromstring(SCHEME.read_text("utf-8")).iter("BuildableReference"):
        target = objects[reference.attrib["BlueprintIdentifier"]]
        assert target["name"] == reference.attrib["BlueprintName"]
        assert objects[target["productReference"]]["path"] == reference.attrib["BuildableName"]
        assert reference.attrib["ReferencedContainer"] == f"container:{PROJECT.parent.name}"


def test_build_settings(document: Spec) -> None:
    found = of_project(document)
    for configuration in ("Debug", "Release"):
        settings = found["settings"][configuration]
        assert (settings["SWIFT_VERSION"], settings["IPHONEOS_DEPLOYMENT_TARGET"]) == ("6.0", "17.0")
        assert settings["DEVELOPMENT_TEAM"] == ""
        assert settings["ENABLE_USER_SCRIPT_SANDBOXING"] == "YES"
        assert settings["MARKETING_VERSION"] == __version__
        ids = {target["settings"][configuration]["PRODUCT_BUNDLE_IDENTIFIER"] for target in found["targets"].values()}
        assert len(ids) == 2
        host = found["targets"]["EvimDemoTests"]["settings"][configuration]["TEST_HOST"]
        assert host.endswith("/EvimDemo")
    # the app links the package and hosts the tests: a second copy in the tests would define different types
    assert found["targets"]["EvimDemoTests"]["products"] == []


def test_project_knows_every_language_of_the_catalogue(document: Spec) -> None:
    project = document["objects"][document["rootObject"]]
    strings = json.loads((ROOT / "EvimDemo" / "Resources" / "Localizable.xcstrings").read_text("utf-8"))
    languages = {language for entry in strings["strings"].values() for language in entry["localizations"]}
    assert languages | {strings["sourceLanguage"], "Base"} == set(project["knownRegions"])


def test_files_app_can_show_results() -> None:
    """The keys are in a plist file: Xcode silently ignores an INFOPLIST_KEY_ setting for UIFileSharingEnabled."""
    assert plistlib.loads((ROOT / "EvimDemo-Info.plist").read_bytes()) == {
        "UIFileSharingEnabled": True,
        "LSSupportsOpeningDocumentsInPlace": True,
    }


def test_asset_catalogue_is_complete() -> None:
    folders = [path.parent for path in ASSETS.rglob("Contents.json")]
    assert {folder.name for folder in folders} == {
        "Assets.xcassets",
        "AccentColor.colorset",
        "AppIcon.appiconset",
        "Sample.dataset",
    }
    for folder in folders:
        contents = json.loads((folder / "Contents.json").read_text("utf-8"))
        named = {each["filename"] for each in [*contents.get("images", ()), *contents.get("data", ())]}
        assert named == {path.name for path in folder.iterdir() if path.is_file()} - {"Contents.json"}


def test_icon_is_opaque_and_has_the_size_for_the_app_store() -> None:
    with Image.open(ASSETS / "AppIcon.appiconset" / "icon.png") as icon:
        assert (icon.mode, icon.size) == ("RGB", (1024, 1024))


def test_sample_image_is_the_photograph_with_a_documented_licence() -> None:
    original = ROOT.parent / "evim_deploy" / "data" / "photographs" / "cat.png"
    assert (ASSETS / "Sample.dataset" / "cat.png").read_bytes() == original.read_bytes()
    assert "CC0" in (ROOT / "Models" / "README.md").read_text("utf-8")


def test_git_ignores_models_but_not_their_readme() -> None:
    lines = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert lines.index("/Models/*") < lines.index("!/Models/README.md")


def test_fonts_are_scalable_and_colours_are_semantic() -> None:
    """Dynamic Type requires fonts by text style, and dark mode requires named colours."""
    sources = [path.read_text("utf-8") for path in (ROOT / "EvimDemo").rglob("*.swift")]
    for pattern in (
        r"\.system\(size",
        r"Font\.custom",
        r"\bColor\((?:red|white|hue|\.sRGB)",
        r"\.black\b",
        r"\.white\b",
    ):
        assert not [source for source in sources if re.search(pattern, source)], pattern


def test_each_view_file_has_the_name_of_its_view() -> None:
    for path in (ROOT / "EvimDemo").rglob("*.swift"):
        views = re.findall(r"^struct (\w+): (?:View|UIViewRepresentable|App) ", path.read_text("utf-8"), re.MULTILINE)
        assert views in ([], [path.stem])

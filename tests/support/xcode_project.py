"""Comparable descriptions of an Xcode project, its scheme and an XcodeGen spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from openstep_parser import OpenStepDecoder

Spec = dict[str, Any]

PRODUCT_TYPES = {
    "application": "com.apple.product-type.application",
    "bundle.unit-test": "com.apple.product-type.bundle.unit-test",
}
CONFIGURATIONS = ("Debug", "Release")


def parse(text: str) -> Spec:
    """Parse a project file into dictionaries, lists and strings."""
    document: Spec = OpenStepDecoder.ParseFromString(text)
    return document


def of_project(document: Spec) -> Spec:
    """The name, packages, settings and targets of a parsed project file."""
    objects = document["objects"]
    project = objects[document["rootObject"]]
    targets = [objects[id_] for id_ in project["targets"]]
    return {
        "language": project["developmentRegion"],
        "attributes": {key: value for key, value in project["attributes"].items() if key != "TargetAttributes"},
        "packages": sorted(objects[id_]["relativePath"] for id_ in project["packageReferences"]),
        "settings": _settings(objects, project),
        "targets": {target["name"]: _target(objects, target) for target in targets},
    }


def _settings(objects: Spec, owner: Spec) -> Spec:
    configurations = objects[owner["buildConfigurationList"]]
    found = [objects[id_] for id_ in configurations["buildConfigurations"]]
    return {
        "default": configurations["defaultConfigurationName"],
        **{configuration["name"]: configuration["buildSettings"] for configuration in found},
    }


def _target(objects: Spec, target: Spec) -> Spec:
    return {
        "type": target["productType"],
        "synchronised": [objects[id_]["path"] for id_ in target["fileSystemSynchronizedGroups"]],
        "folders": [file["path"] for file in _files(objects, target, "PBXResourcesBuildPhase", "fileRef")],
        "products": [file["productName"] for file in _files(objects, target, "PBXFrameworksBuildPhase", "productRef")],
        "targets": [objects[objects[id_]["target"]]["name"] for id_ in target["dependencies"]],
        "settings": _settings(objects, target),
    }


def _files(objects: Spec, target: Spec, phase: str, reference: str) -> Iterator[Spec]:
    for id_ in target["buildPhases"]:
        if objects[id_]["isa"] == phase:
            for file in objects[id_]["files"]:
                yield objects[objects[file][reference]]


def of_spec(spec: Spec) -> Spec:
    """The description of the project that XcodeGen generates from a spec without presets."""
    assert spec["options"]["settingPresets"] == "none"
    default = spec["options"]["defaultConfig"]
    return {
        "language": spec["options"]["developmentLanguage"],
        "attributes": {key: str(value) for key, value in spec["attributes"].items()},
        "packages": sorted(package["path"] for package in spec["packages"].values()),
        "settings": _merged(spec["settings"], default),
        "targets": {name: _spec_target(target, default) for name, target in spec["targets"].items()},
    }


def _merged(settings: Spec, default: str) -> Spec:
    base = settings.get("base", {} if "configs" in settings else settings)
    return {"default": default} | {name: base | settings.get("configs", {}).get(name, {}) for name in CONFIGURATIONS}


def _spec_target(target: Spec, default: str) -> Spec:
    dependencies = target["dependencies"]
    return {
        "type": PRODUCT_TYPES[target["type"]],
        "synchronised": [each["path"] for each in target["sources"] if each["type"] == "syncedFolder"],
        "folders": [
            each["path"]
            for each in target["sources"]
            if (each["type"], each.get("buildPhase")) == ("folder", "resources")
        ],
        "products": [each["product"] for each in dependencies if "package" in each],
        "targets": [each["target"] for each in dependencies if "target" in each],
        "settings": _merged(target["settings"], default),
    }


def of_scheme(text: str) -> Spec:
    """The build, test and launch actions of a scheme."""
    scheme = ElementTree.fromstring(text)
    actions = {"run": "LaunchAction", "test": "TestAction", "profile": "ProfileAction", "analyze": "AnalyzeAction"}
    entries = scheme.findall("BuildAction/BuildActionEntries/BuildActionEntry")
    return {
        "build": {
            _blueprint(entry): [key for key, value in entry.items() if value != "YES"] or "all" for entry in entries
        },
        "test": [_blueprint(each) for each in scheme.findall("TestAction/Testables/TestableReference")],
        "arguments": {
            each.attrib["argument"]: each.attrib["isEnabled"] == "YES"
            for each in scheme.findall("LaunchAction/CommandLineArguments/CommandLineArgument")
        },
        "configurations": {
            name: _found(scheme, tag).attrib["buildConfiguration"]
            for name, tag in {**actions, "archive": "ArchiveAction"}.items()
        },
    }


def _found(element: ElementTree.Element, path: str) -> ElementTree.Element:
    found = element.find(path)
    assert found is not None, path
    return found


def _blueprint(element: ElementTree.Element) -> str:
    return _found(element, "BuildableReference").attrib["BlueprintName"]


def of_spec_scheme(scheme: Spec) -> Spec:
    """The build, test and launch actions of a scheme in a spec."""
    return {
        "build": scheme["build"]["targets"],
        "test": scheme["test"]["targets"],
        "arguments": scheme["run"]["commandLineArguments"],
        "configurations": {name: action["config"] for name, action in scheme.items() if name != "build"},
    }

import Foundation
import Testing

@testable import EvimCore

@Suite struct ManifestTests {
    @Test func readsWhatPythonWrites() throws {
        let manifest = try Manifest(decoding: Fixtures.data("manifest.json"))
        #expect(manifest.schemaVersion == 2)
        #expect(manifest.model == "efficientvim_m1")
        #expect(manifest.precision == "fp16")
        #expect(manifest.output == "probabilities")
        #expect(manifest.resolution.height == 32)
        #expect(manifest.batch == 1)
        #expect(manifest.numClasses == 10)
        #expect(manifest.weights.source == "random:1")
        #expect(!manifest.weights.trained)
        #expect(manifest.inputs.map(\.shape) == [[1, 3, 32, 32]])
        #expect(manifest.inputs.first?.range == [0, 255])
        #expect(manifest.outputs.map(\.name) == ["classLabel", "classLabel_probs"])
        #expect(manifest.outputs.first?.range == nil)
        #expect(manifest.artifact == "efficientvim_m1_UNTRAINED_random1_32x32_fp16.mlpackage")
        #expect(manifest.sizeBytes == 1_234_567)
        #expect(manifest.takesImage)
        try manifest.requireImageClassifier()
    }

    @Test(arguments: Preprocessing.CropMode.allCases)
    func saysHowTheNetworkIsEvaluated(mode: Preprocessing.CropMode) throws {
        let squash: [String: any Sendable] = [
            "mean": [0.5, 0.25, 0], "std": [1, 1, 1], "crop_fraction": 1, "crop_mode": mode.rawValue,
            "interpolation": "bilinear", "assumed": false,
        ]
        let found = try Manifest(decoding: Documents.manifest(["preprocessing": squash])).preprocessing
        #expect(found.cropMode == mode)
        #expect(found.cropFraction == 1)
        #expect(found.fill == (mode == .border ? [128, 64, 0] : [0, 0, 0]))
    }

    @Test func anOlderManifestMeansTheCentre() throws {
        let older: [String: any Sendable] = [
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "crop_fraction": 0.875,
            "interpolation": "bicubic", "assumed": false,
        ]
        for changes in [["schema_version": 2, "preprocessing": older], ["schema_version": 1, "preprocessing": nil]]
            as [[String: (any Sendable)?]]
        {
            #expect(try Manifest(decoding: Documents.manifest(changes)).preprocessing == .paper)
        }
    }

    @Test(arguments: ["crop", "Center", ""])
    func refusesACropModeToCome(mode: String) throws {
        let unknown: [String: any Sendable] = [
            "mean": [0.5, 0.5, 0.5], "crop_fraction": 1, "crop_mode": mode, "interpolation": "bilinear",
        ]
        let json = try Documents.manifest(["preprocessing": unknown])
        #expect(damage { try Manifest(decoding: json) }?.hasPrefix("preprocessing.crop_mode: ") == true)
    }

    @Test(arguments: Manifest.precisions)
    func readsEachPrecision(precision: String) throws {
        #expect(try Manifest(decoding: Documents.manifest(["precision": precision])).precision == precision)
    }

    @Test func survivesBeingWrittenAndRead() throws {
        let manifest = try Manifest(decoding: Documents.manifest(["resolution": [40, 48]]))
        #expect((manifest.resolution.height, manifest.resolution.width) == (40, 48))
        #expect(try Manifest(decoding: JSONEncoder().encode(manifest)) == manifest)
    }

    @Test func eachFunctionHasItsOwnSize() throws {
        let functions: [[String: any Sendable]] = [
            ["name": "size_40x48", "resolution": [40, 48]], ["name": "size_64x32", "resolution": [64, 32]],
        ]
        let manifest = try Manifest(decoding: Documents.manifest(["resolution": [40, 48], "functions": functions]))
        #expect(manifest.functions.map(\.name) == ["size_40x48", "size_64x32"])
        #expect(manifest.resolution(of: "size_64x32").width == 32)
        #expect(manifest.resolution(of: nil).width == 48)
        #expect(try Manifest(decoding: JSONEncoder().encode(manifest)) == manifest)
    }

    @Test func theModelsOwnMetadataSaysNothingOfTheFile() throws {
        let manifest = try Manifest(decoding: Documents.manifest(["artifact": nil, "size_bytes": nil, "sha256": nil]))
        #expect(manifest.artifact == nil)
        #expect(manifest.sizeBytes == nil)
        #expect(manifest.sha256 == nil)
    }

    @Test func theFirstVersionHasNoHashOfItsLabels() throws {
        let manifest = try Manifest(decoding: Documents.manifest(["schema_version": 1, "labels_sha256": nil]))
        #expect(manifest.labelsSHA256 == nil)
    }

    @Test(arguments: [3, 4, 1_000_000])
    func aVersionToComeIsNamedBeforeAnythingElseIsRead(version: Int) {
        let json = Data("{\"schema_version\": \(version), \"model\": 7}".utf8)
        #expect(throws: EvimError.newerSchema(what: "The manifest", version: version, readable: 2)) {
            try Manifest(decoding: json)
        }
    }

    @Test(arguments: [
        ("", "The given data was not valid JSON"),
        ("[]", ""),
        ("{}", "schema_version is missing"),
        ("{\"schema_version\": 2}", "format is missing"),
        ("{\"schema_version\": 0}", "there is no schema version 0"),
        ("{\"schema_version\": true}", "schema_version: "),
        ("{\"schema_version\": \"2\"}", "schema_version: "),
        ("{\"schema_version\": 99999999999999999999}", ""),
        (String(repeating: "[", count: 100_000), ""),
    ])
    func refusesWhatIsNoManifest(json: String, why: String) {
        #expect(damage { try Manifest(decoding: Data(json.utf8)) }?.hasPrefix(why) == true)
    }

    @Test(
        arguments: [
            ("format", "tflite", "format: \"tflite\" is none of coreml"),
            ("precision", "bf16", "precision: \"bf16\" is none of fp16, fp32, int8, pal8, pal6, pal4, w8a8, int4"),
            ("task", "segment", "task: \"segment\" is none of classify, features"),
            ("output", "features", "output: \"features\" is none of logits, probabilities"),
            ("resolution", "dynamic", "resolution: "),
            ("batch", "dynamic", "batch: "),
            ("preprocess", "yes", "preprocess: "),
            ("num_classes", "ten", "num_classes: "),
            ("weights", "random:0", "weights: "),
            ("inputs", "image", "inputs: "),
            ("model", nil, "model is missing"),
            ("resolution", nil, "resolution is missing"),
            ("num_classes", nil, "num_classes is missing"),
        ] as [(String, String?, String)])
    func refusesAWrongWord(key: String, word: String?, why: String) throws {
        let json = try Documents.manifest([key: word])
        #expect(damage { try Manifest(decoding: json) }?.hasPrefix(why) == true)
    }

    @Test(
        arguments: [
            ("resolution", [0, 256]), ("resolution", [256]), ("resolution", [-1, 256]), ("resolution", [1, 2, 3]),
            ("inputs", []), ("outputs", []),
        ] as [(String, [Int])])
    func refusesAWrongList(key: String, list: [Int]) throws {
        let json = try Documents.manifest([key: list])
        #expect(damage { try Manifest(decoding: json) }?.hasPrefix("\(key): ") == true)
    }

    @Test(arguments: ["batch", "num_classes"], [0, -1])
    func refusesALengthBelowOne(key: String, length: Int) throws {
        let json = try Documents.manifest([key: length])
        #expect(damage { try Manifest(decoding: json) } == "\(key): \(length) is no length")
    }

    @Test func aPlaceInAListIsNamed() throws {
        let text = try String(decoding: Fixtures.data("manifest.json"), as: UTF8.self)
        let json = Data(text.replacing("\"dtype\": \"dictionary\",", with: "").utf8)
        #expect(damage { try Manifest(decoding: json) } == "outputs.1: dtype is missing")
    }

    @Test func aModelOfNumbersIsNotShownPhotographs() throws {
        let text = try String(decoding: Fixtures.data("manifest.json"), as: UTF8.self)
        let json = Data(text.replacing("\"dtype\": \"image\"", with: "\"dtype\": \"float32\"").utf8)
        let manifest = try Manifest(decoding: json)
        #expect(!manifest.takesImage)
        #expect(throws: EvimError.inputIsNotAnImage(name: "image", takes: "float32 of 1x3x32x32")) {
            try manifest.requireImageClassifier()
        }
    }

    @Test(arguments: [("classify", "logits"), ("features", "features")])
    func aModelWithoutProbabilitiesIsNoClassifier(task: String, output: String) throws {
        let manifest = try Manifest(decoding: Documents.manifest(["task": task, "output": output]))
        #expect(throws: EvimError.notAClassifier(output: output)) { try manifest.requireImageClassifier() }
    }

    @Test func aModelOfFeaturesHasNoClasses() throws {
        let changes: [String: (any Sendable)?] = ["task": "features", "output": "features", "num_classes": nil]
        #expect(try Manifest(decoding: Documents.manifest(changes)).numClasses == nil)
    }
}

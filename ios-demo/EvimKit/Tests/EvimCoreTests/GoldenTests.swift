import Foundation
import Testing

@testable import EvimCore

@Suite struct GoldenTests {
    private static let sound = GoldenBuilder(expected: [[0, 2], [1, 0]], control: [[2, 0], [0, 1]])

    @Test func readsWhatPythonWrites() throws {
        let golden = try Golden(decoding: Fixtures.data("golden.safetensors"))
        #expect(golden.artifact == "efficientvim_m1_UNTRAINED_random1_32x32_fp16.mlpackage")
        #expect(golden.artifactSHA256 == String(repeating: "5f", count: 32))
        #expect(golden.model == "efficientvim_m1")
        #expect(golden.output == "probabilities")
        #expect(golden.weights.source == "random:1")
        #expect(golden.tolerance == Golden.Tolerance(maxAbs: 0.05, meanAbs: 0.005))
        #expect((golden.height, golden.width) == (32, 32))
        #expect(golden.cases.count == 12)
        #expect(golden.control.contains("20%"))
        #expect(golden.controlParity.status == .fail)
        let red = try #require(golden.cases.first { $0.name == "red" })
        guard case .pixels(let pixels) = red.input else { throw CancellationError() }
        #expect(pixels.count == 32 * 32 * 3)
        #expect(Array(pixels.prefix(6)) == [255, 0, 0, 255, 0, 0])
    }

    @Test func cutsTheImagesApart() throws {
        #expect(try Self.sound.golden().cases.map(\.input) == [.pixels([0, 1, 2]), .pixels([3, 4, 5])])
        var normalised = Self.sound
        normalised.document["preprocess"] = false
        normalised.input = ("F32", [2, 3, 1, 2], Documents.bytes((0..<12).map(Float.init)))
        let golden = try normalised.golden()
        #expect((golden.height, golden.width) == (1, 2))
        #expect(golden.cases.last?.input == .values([6, 7, 8, 9, 10, 11]))
    }

    @Test(arguments: [2, 100])
    func aVersionToComeIsNamed(version: Int) throws {
        var newer = Self.sound
        newer.document = ["schema_version": version]
        let file = try newer.file()
        #expect(throws: EvimError.newerSchema(what: "The golden file", version: version, readable: 1)) {
            try Golden(decoding: file)
        }
    }

    @Test(
        arguments: [
            ("schema", "evim-deploy-results"), ("schema_version", 0), ("task", "segment"), ("output", "features"),
            ("artifact", 1), ("artifact_sha256", 1), ("model", 1), ("preprocess", "yes"), ("weights", "random:0"),
            ("tolerance", ["max_abs": 0.1]), ("tolerance", ["max_abs": -0.1, "mean_abs": 0.1]),
            ("least_probability", 0.0), ("least_probability", 1.0), ("least_probability", "small"),
            ("cases", [String]()), ("cases", ["one"]), ("cases", ["one", "one"]), ("cases", ["one", "two", "three"]),
            ("control", 1), ("output", "probabilities"),
        ] as [(String, any Sendable)])
    func refusesADocumentThatIsWrong(key: String, value: any Sendable) throws {
        var builder = Self.sound
        builder.document[key] = value
        let file = try builder.file()
        #expect(damage { try Golden(decoding: file) } != nil)
    }

    @Test(arguments: [
        "schema", "schema_version", "artifact", "artifact_sha256", "model", "task", "output", "preprocess", "weights",
        "tolerance", "control",
    ])
    func refusesADocumentThatLacksAKey(key: String) throws {
        var builder = Self.sound
        builder.document[key] = nil
        let file = try builder.file()
        #expect(damage { try Golden(decoding: file) }?.contains("\(key) is missing") == true)
    }

    @Test func refusesAFileWithoutADocument() {
        let file = Documents.safetensors(header: "{}")
        #expect(damage { try Golden(decoding: file) } == "it does not say what it is")
    }

    @Test(arguments: [
        ("U8", [2, 1, 3, 1], true), ("U8", [1, 1, 2, 3], true), ("U8", [6], true), ("U8", [2, 1, 1, 1, 3], true),
        ("U8", [2, 1, 1, 3], false), ("U8", [2, 3, 1, 1], false), ("F32", [2, 3, 1, 1], true),
        ("F32", [2, 1, 1, 3], false),
    ])
    func refusesImagesOfAnotherKind(dtype: String, shape: [Int], preprocess: Bool) throws {
        var builder = Self.sound
        builder.document["preprocess"] = preprocess
        builder.input = (dtype, shape, [UInt8](repeating: 0, count: dtype == "U8" ? 6 : 24))
        let file = try builder.file()
        #expect(damage { try Golden(decoding: file) }?.contains("images of the kind it says") == true)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity])
    func refusesToExpectWhatIsNotANumber(value: Float) throws {
        var builder = Self.sound
        builder.outputs[0].expected[3] = value
        let file = try builder.file()
        #expect(damage { try Golden(decoding: file) } == "expected.logits has values that are not numbers")
    }

    @Test func refusesOutputsOfOtherImages() throws {
        var builder = Self.sound
        builder.outputs[0].shape = [4, 1]
        let file = try builder.file()
        #expect(damage { try Golden(decoding: file) } == "expected.logits does not have values of 2 images")
    }

    @Test func refusesOutputsWithoutValues() throws {
        let file = try GoldenBuilder(expected: [[], []], control: [[], []]).file()
        #expect(damage { try Golden(decoding: file) } == "expected.logits does not have values of 2 images")
    }

    @Test func refusesAFileWithoutOutputs() throws {
        var builder = Self.sound
        builder.outputs = []
        let file = try builder.file()
        #expect(damage { try Golden(decoding: file) } == "it does not have the outputs of a classify model")
    }

    @Test func refusesAFileWithoutAControl() throws {
        let file = try rename("control.logits", to: "control.others", in: Self.sound.file())
        #expect(damage { try Golden(decoding: file) } == "it has no array control.logits")
    }

    @Test func refusesAControlOfAnotherShape() throws {
        var builder = GoldenBuilder(expected: [[0]], control: [[0]])
        builder.document["task"] = "features"
        builder.document["output"] = "features"
        builder.outputs = [("a", [1, 2], [0, 1], [1, 0]), ("b", [1, 2, 1], [0, 1], [1, 0])]
        // Each control in the other's place: of as many values, and of another shape.
        var file = try rename("control.a", to: "control.c", in: builder.file())
        file = try rename("control.b", to: "control.a", in: file)
        file = try rename("control.c", to: "control.b", in: file)
        #expect(damage { try Golden(decoding: file) } == "control.a is of another shape than expected")
    }

    private func rename(_ name: String, to other: String, in file: Data) throws -> Data {
        var file = file
        let place = try #require(file.range(of: Data(name.utf8)))
        file.replaceSubrange(place, with: Data(other.utf8))
        return file
    }
}

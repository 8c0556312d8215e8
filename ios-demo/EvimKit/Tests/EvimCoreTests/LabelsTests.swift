import Foundation
import Testing

@testable import EvimCore

@Suite struct LabelsTests {
    @Test func readsWhatPythonWrites() throws {
        let manifest = try Manifest(decoding: Fixtures.data("manifest.json"))
        let labels = try Labels(decoding: Fixtures.data("labels.json"), for: manifest)
        #expect(labels.names.count == 10)
        #expect(labels.names.first == "class 0")
        #expect(labels.names.suffix(2) == ["a \"quoted\" one", "Zwölf Äpfel"])
    }

    @Test(arguments: [0, 2, 4])
    func refusesAnotherNumberThanOfClasses(count: Int) throws {
        let manifest = try Manifest(decoding: Documents.manifest(["num_classes": 3]))
        let json = try JSONEncoder().encode((0..<count).map { "class \($0)" })
        #expect(throws: EvimError.labelCount(found: count, expected: 3)) { try Labels(decoding: json, for: manifest) }
    }

    @Test(arguments: [
        (["a", "b", "a"], "it names \"a\" more than once"),
        (["caf\u{e9}", "cafe\u{301}", "tea"], "it names \"cafe\u{301}\" more than once"),
        (["a", "", "c"], "a name is empty"),
        (["a", " \t", "c"], "a name is empty"),
    ])
    func refusesNamesThatNameNothing(names: [String], why: String) {
        #expect(damage { try Documents.labels(names) } == why)
    }

    @Test(arguments: ["", "{}", "[1, 2, 3]", "[\"a\", null]", "\"a\"", "[\"a\""])
    func refusesWhatIsNoListOfNames(json: String) throws {
        let manifest = try Manifest(decoding: Fixtures.data("manifest.json"))
        #expect(damage { try Labels(decoding: Data(json.utf8), for: manifest) } != nil)
    }

    @Test func aModelOfFeaturesHasNone() throws {
        let changes: [String: (any Sendable)?] = ["task": "features", "output": "features", "num_classes": nil]
        let manifest = try Manifest(decoding: Documents.manifest(changes))
        #expect(try Labels(decoding: Data("[]".utf8), for: manifest).names.isEmpty)
        #expect(throws: EvimError.labelCount(found: 1, expected: 0)) {
            try Labels(decoding: Data("[\"a\"]".utf8), for: manifest)
        }
    }
}

import Foundation
import Testing

@testable import EvimCore

@Suite struct ClassificationTests {
    struct Case: Decodable, Sendable {
        let logits: [Float]
        let softmax: [Double]
        let top: [Int]
    }

    @Test func agreesWithPython() throws {
        for each in try Fixtures.decode([Case].self, "classification.json") {
            let found = try Classification.softmax(each.logits)
            #expect(found.count == each.softmax.count)
            #expect(zip(found, each.softmax).allSatisfy(agrees))
            let labels = try Documents.labels(each.logits.indices.map { "class \($0)" })
            let guesses = try Classification.top(5, of: found, labels: labels)
            #expect(guesses.map(\.index) == each.top)
            #expect(guesses.map(\.id) == each.top)
            #expect(guesses.map(\.label) == each.top.map { "class \($0)" })
            #expect(guesses.map(\.probability) == each.top.map { found[$0] })
        }
    }

    @Test(
        arguments: [
            ([0, 0], [0.5, 0.5]),
            ([7], [1]),
            ([], []),
            ([3e38, -3e38], [1, 0]),
            ([-3e38, -3e38, -3e38, -3e38], [0.25, 0.25, 0.25, 0.25]),
        ] as [([Float], [Double])])
    func softmaxOfExtremes(logits: [Float], expected: [Double]) throws {
        #expect(try Classification.softmax(logits) == expected)
    }

    @Test func oneOfTwoLogitsLarger() throws {
        let found = try Classification.softmax([1, 3])
        #expect(agrees(found[1], 1 / (1 + exp(-2.0))))
    }

    @Test(
        arguments: [
            ([.nan, 0, 1], 1), ([.nan, .nan, .nan], 3), ([.infinity, 0, 1], 1), ([-.infinity, .nan, 1], 2),
        ] as [([Float], Int)])
    func refusesValuesThatAreNotNumbers(values: [Float], count: Int) throws {
        #expect(throws: EvimError.notFinite(output: "logits", count: count)) { try Classification.softmax(values) }
        let labels = try Documents.labels(["a", "b", "c"])
        #expect(throws: EvimError.notFinite(output: "probabilities", count: count)) {
            try Classification.top(1, of: values.map(Double.init), labels: labels)
        }
    }

    @Test(
        arguments: [
            (-1, []), (0, []), (1, ["c"]), (2, ["c", "a"]), (3, ["c", "a", "d"]), (4, ["c", "a", "d", "b"]),
            (100, ["c", "a", "d", "b"]),
        ] as [(Int, [String])])
    func equalClassesKeepTheirOrder(count: Int, expected: [String]) throws {
        let labels = try Documents.labels(["a", "b", "c", "d"])
        let guesses = try Classification.top(count, of: [0.25, 0, 0.5, 0.25], labels: labels)
        #expect(guesses.map(\.label) == expected)
    }

    @Test(arguments: [1, 3])
    func refusesLabelsOfOtherClasses(count: Int) throws {
        let labels = try Documents.labels(["a", "b"])
        #expect(throws: EvimError.labelCount(found: 2, expected: count)) {
            try Classification.top(1, of: [Double](repeating: 0, count: count), labels: labels)
        }
    }
}

import Foundation
import Testing

@testable import EvimCore

@Suite struct ParityTests {
    struct Case: Decodable, Sendable {
        let name: String
        /// By case; null is not a number.
        let outputs: [[Float?]]
        let status: Parity.Status
        let maxAbs: Double?
        let meanAbs: Double?
        let top1: Double
        let worstCase: String
        let worstOutput: String

        enum CodingKeys: String, CodingKey {
            case name, outputs, status, top1
            case maxAbs = "max_abs"
            case meanAbs = "mean_abs"
            case worstCase = "worst_case"
            case worstOutput = "worst_output"
        }
    }

    @Test func agreesWithPython() throws {
        let golden = try Golden(decoding: Fixtures.data("golden.safetensors"))
        for each in try Fixtures.decode([Case].self, "golden.json") {
            let found = try golden.compare(each.outputs.map { ["probabilities": $0.map { $0 ?? .nan }] })
            #expect(found.status == each.status, "\(each.name)")
            #expect(agrees(found.maxAbs, each.maxAbs ?? .infinity), "\(each.name): \(found.maxAbs)")
            #expect(agrees(found.meanAbs, each.meanAbs ?? .infinity), "\(each.name): \(found.meanAbs)")
            #expect(found.top1.map { agrees($0, each.top1) } == true, "\(each.name)")
            #expect(found.worstCase == each.worstCase, "\(each.name)")
            #expect(found.worstOutput == each.worstOutput, "\(each.name)")
        }
    }

    // Errors below are in units of 4, the range of the second image: 0.5 / 4 and so on.
    private static let expected: [[Float]] = [[0, 1, 0], [4, 0, 1]]
    private static let refused: [[Float]] = [[9, 1, 0], [4, 0, 1]]

    @Test(
        arguments: [
            ([[0, 1, 0], [4, 0, 1]], .pass, 0, 0, 1, "image 0"),
            // One error of 0.1 * 4, less than float32's rounding above: 0.375 / 4.
            ([[0, 1, 0], [4, 0.375, 1]], .pass, 0.09375, 0.09375 / 6, 1, "image 1"),
            ([[0, 1, 0], [4, 0, 1.5]], .fail, 0.125, 0.125 / 6, 1, "image 1"),
            // Each error is allowed, their mean is not.
            ([[0.25, 1.25, 0.25], [4.25, 0.25, 1.25]], .fail, 0.0625, 0.0625, 1, "image 0"),
            // Another likeliest class, and of the same error the first image.
            ([[2, 1, 0], [4, 0, 3]], .fail, 0.5, 0.5 / 3, 0.5, "image 0"),
            // Of equal classes the first counts.
            ([[1, 1, 0], [4, 0, 1]], .fail, 0.25, 0.25 / 6, 0.5, "image 0"),
            ([[0, 1, 0], [0, 0, 0]], .fail, 1, 1.25 / 6, 1, "image 1"),
            ([[0, 1, 0], [4, .nan, 1]], .fail, .infinity, .infinity, 0.5, "image 1"),
            ([[0, .infinity, 0], [4, 0, 1]], .fail, .infinity, .infinity, 0.5, "image 0"),
            ([[0, 1, -.infinity], [4, 0, 1]], .fail, .infinity, .infinity, 0.5, "image 0"),
            ([[.nan, .nan, .nan], [.nan, .nan, .nan]], .fail, .infinity, .infinity, 0, "image 0"),
        ] as [([[Float]], Parity.Status, Double, Double, Double, String)])
    func countsByHand(
        actual: [[Float]], status: Parity.Status, maxAbs: Double, meanAbs: Double, top1: Double, worst: String
    ) throws {
        let golden = try GoldenBuilder(expected: Self.expected, control: Self.refused).golden()
        let found = try golden.compare(actual.map { ["logits": $0] })
        #expect(
            found
                == Parity(
                    status: status, maxAbs: maxAbs, meanAbs: found.meanAbs, top1: top1, worstCase: worst,
                    worstOutput: "logits", tolerance: Golden.Tolerance(maxAbs: 0.1, meanAbs: 0.05)))
        #expect(agrees(found.meanAbs, meanAbs))
    }

    @Test func aControlThatPassesMakesAPassMeanNothing() throws {
        let golden = try GoldenBuilder(expected: Self.expected, control: Self.expected).golden()
        #expect(golden.controlParity.status == .pass)
        #expect(try golden.compare(Self.expected.map { ["logits": $0] }).status == .cannotFail)
        #expect(try golden.compare(Self.refused.map { ["logits": $0] }).status == .fail)
    }

    @Test func probabilitiesAreComparedAsTheLogitsTheyStandFor() throws {
        // Logarithms less their mean: +-log(3) / 2, a range of log(3). The least probability is 1/16: 0 counts as that.
        var builder = GoldenBuilder(expected: [[0.75, 0.25]], control: [[0.25, 0.75]], output: "probabilities")
        builder.document["least_probability"] = 0.0625
        let golden = try builder.golden()
        #expect(golden.controlParity.status == .fail)
        #expect(agrees(golden.controlParity.maxAbs, 1))
        let found = try golden.compare([["probabilities": [1, 0]]])
        #expect(abs(found.maxAbs - (log(16) - log(3)) / 2 / log(3)) < 1e-12)
        #expect(found.top1 == 1)
        #expect(try golden.compare([["probabilities": [0.75, .nan]]]).maxAbs == .infinity)
        #expect(try golden.compare([["probabilities": [.infinity, 0.25]]]).maxAbs == .infinity)
    }

    @Test func withoutALeastProbabilityTheyAreComparedAsTheyAre() throws {
        let builder = GoldenBuilder(expected: [[0.75, 0.25]], control: [[0.25, 0.75]], output: "probabilities")
        let found = try builder.golden().compare([["probabilities": [1, 0]]])
        #expect(found.maxAbs == 0.5)
    }

    @Test func featuresHaveNoClassesAndEachItsOwnUnit() throws {
        var builder = GoldenBuilder(expected: [[0]], control: [[0]])
        builder.document["task"] = "features"
        builder.document["output"] = "features"
        builder.outputs = [
            ("stride16", [1, 2], [0, 10], [10, 0]),
            ("stride32", [1, 2], [-3, -3], [3, 3]),
            ("stride64", [1, 2], [0, 0], [2, 2]),
        ]
        let golden = try builder.golden()
        #expect(golden.controlParity.maxAbs == 2)
        // 0.5 of a range of 10; 0.75 of a constant of 3; 0.125 of zeros.
        let found = try golden.compare([["stride16": [0, 10.5], "stride32": [-3, -3.75], "stride64": [0.125, 0]]])
        #expect(found.maxAbs == 0.25)
        #expect(agrees(found.meanAbs, (0.05 + 0.25 + 0.125) / 6))
        #expect(found.top1 == nil)
        #expect(found.worstOutput == "stride32")
    }

    @Test(
        arguments: [
            ([], nil),
            ([["logits": [0, 1, 0]]], nil),
            ([["logits": [0, 1, 0]], [:]], nil),
            ([["probabilities": [0, 1, 0]], ["logits": [4, 0, 1]]], nil),
            ([["logits": [0, 1, 0]], ["logits": [4, 0]]], 2),
            ([["logits": []], ["logits": [4, 0, 1]]], 0),
        ] as [([[String: [Float]]], Int?)])
    func refusesOutputsOfAnotherShape(actual: [[String: [Float]]], count: Int?) throws {
        let golden = try GoldenBuilder(expected: Self.expected, control: Self.refused).golden()
        #expect(throws: EvimError.outputShape(output: "logits", found: count, expected: 3)) {
            try golden.compare(actual)
        }
    }

    @Test func moreOutputsThanAreExpectedAreLeftOut() throws {
        let golden = try GoldenBuilder(expected: Self.expected, control: Self.refused).golden()
        let found = try golden.compare(Self.expected.map { ["logits": $0, "classLabel": []] })
        #expect(found.status == .pass)
    }
}

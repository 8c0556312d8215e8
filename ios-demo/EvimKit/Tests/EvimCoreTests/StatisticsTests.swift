import Foundation
import Testing

@testable import EvimCore

/// A row of statistics.json: samples, and what Python says of them.
private struct Sampled: Decodable, CustomTestStringConvertible, Sendable {
    struct Told: Decodable, Sendable {
        let count: Int
        let mean, median, minimum, p90, p99, deviation: Double
        let outliers: [Int]
    }

    struct Trimmed: Decodable, Sendable {
        let dropped: Int
        let mean: Double
    }

    let samples: [Double]
    let summary: Told
    let trimmed: Trimmed
    let slowdown: Double?

    var testDescription: String { "\(samples.count) samples" }

    static func all() throws -> [Sampled] { try Fixtures.decode([Sampled].self, "statistics.json") }
}

/// A row of modelbench.json.
private struct Benched: Decodable, Sendable {
    let rounds: [[Double]]
    let dropped: Int
    let mean: Double

    static func all() throws -> [Benched] { try Fixtures.decode([Benched].self, "modelbench.json") }
}

@Suite struct StatisticsTests {
    @Test(arguments: try Sampled.all())
    private func summarizesAsPython(row: Sampled) throws {
        let found = try Summary(row.samples)
        #expect(found.count == row.summary.count)
        #expect(found.outliers == row.summary.outliers)
        #expect(agrees(found.mean, row.summary.mean))
        #expect(found.median == row.summary.median)
        #expect(found.minimum == row.summary.minimum)
        #expect(found.p90 == row.summary.p90)
        #expect(found.p99 == row.summary.p99)
        #expect(agrees(found.deviation, row.summary.deviation))
    }

    @Test(arguments: try Sampled.all())
    private func trimsAndComparesFifthsAsPython(row: Sampled) throws {
        let mean = try #require(Statistics.trimmedMean(row.samples, dropping: row.trimmed.dropped))
        #expect(agrees(mean, row.trimmed.mean))
        #expect(Statistics.slowdown(row.samples) == row.slowdown)
    }

    @Test(arguments: try Benched.all())
    private func meansOfModelBenchAsPython(row: Benched) throws {
        let mean = try #require(Statistics.modelBenchMean(rounds: row.rounds, dropping: row.dropped))
        #expect(agrees(mean, row.mean))
    }

    @Test(arguments: [(0, 1), (25, 1.75), (50, 2.5), (90, 3.7), (100, 4), (120, 4), (-5, 1)] as [(Double, Double)])
    func percentilesLieOnTheLineBetweenSamples(percent: Double, expected: Double) throws {
        #expect(agrees(try #require(Statistics.percentile(percent, of: [4, 2, 1, 3])), expected))
    }

    @Test func handComputedSummary() throws {
        let found = try Summary([1, 2, 3, 4, 100])
        #expect(found.mean == 22)
        #expect(found.median == 3)
        // deviations from the median are 2, 1, 0, 1, 97, so their median is 1
        #expect(found.outliers == [4])
        #expect(agrees(found.deviation, (7610.0 / 4).squareRoot()))
    }

    @Test func handComputedTrimming() {
        #expect(Statistics.trimmedMean([9, 1, 2, 3, 0], dropping: 1) == 2)
        #expect(Statistics.trimmedMean([9, 1], dropping: 1) == 5)
        #expect(Statistics.modelBenchMean(rounds: [[0, 1, 2], [5]], dropping: 1) == 3)
    }

    @Test func nothingIsSaidOfNothing() {
        #expect(throws: EvimError.usage("There are no samples to summarise.")) { try Summary([]) }
        #expect(Statistics.percentile(50, of: []) == nil)
        #expect(Statistics.trimmedMean([], dropping: 0) == nil)
        #expect(Statistics.modelBenchMean(rounds: []) == nil)
        #expect(Statistics.slowdown([Double](repeating: 1, count: 24)) == nil)
        #expect(Statistics.typicalRatio(logs: [0, 0, 0, 0]) == nil)
    }

    @Test func aRatioLosesAFifthOfItsRoundsAtEachEnd() throws {
        let logs = [-9, 0.1, 0.2, 0.3, 9]
        #expect(agrees(try #require(Statistics.typicalRatio(logs: logs)), exp(0.2)))
        #expect(agrees(try #require(Statistics.typicalRatio(logs: [0, 0, 0, 0, 0, 0, 0, 0, 0.8])), exp(0)))
    }

    @Test func theLastFifthIsHeldAgainstTheFirst() {
        let samples = [Double](repeating: 2, count: 5) + [Double](repeating: 9, count: 17) + [3, 3, 3, 3, 3]
        #expect(Statistics.slowdown(samples) == 1.5)
    }
}

import Foundation
import Testing

@testable import EvimCore

/// A case of judgement.json: a file, and what Python says of each contender.
private struct Judged: Decodable, CustomTestStringConvertible, Sendable {
    struct Said: Decodable, Equatable, Sendable {
        let status: Judgement.Status
        let reasons: [String]
    }

    let name: String
    let results: Results
    let judgements: [String: Said]

    var testDescription: String { name }

    static func all() throws -> [Judged] { try Fixtures.decode([Judged].self, "judgement.json") }
}

@Suite struct ValidityTests {
    @Test(arguments: try Judged.all())
    private func judgesAsPython(file: Judged) {
        let found = Validity.judge(file.results).mapValues { Judged.Said(status: $0.status, reasons: $0.reasons) }
        #expect(found == file.judgements)
    }

    @Test func theCasesHaveEveryStatus() throws {
        let statuses = try Judged.all().flatMap { $0.judgements.values.map(\.status) }
        #expect(Set(statuses) == [.valid, .suspect, .invalid, .notMeasured])
    }

    @Test func aSummaryIsOfAllSamples() throws {
        let file = try #require(try Judged.all().first)
        for contender in file.results.contenders {
            #expect(Validity.judge(file.results)[contender.id]?.summary == (try Summary(contender.samples)))
        }
    }

    @Test func aHotDeviceTouchesTheGroupsOfItsTimeAlone() async throws {
        // before, wait, round and end of the first; wait, round and end of the second; after
        let states: [ThermalState] = [.nominal, .nominal, .fair, .serious, .serious, .fair, .nominal]
        let bench = try Bench(states: states)
        let results = await bench.run(
            try BenchmarkRequest(mode: .paper, units: [.cpuOnly, .all], seconds: 1))
        let judgements = Validity.judge(results)
        let first = try #require(results.contender(on: .cpuOnly))
        let second = try #require(results.contender(on: .all))
        #expect(judgements[first.id]?.reasons == ["the device was hot"])
        #expect(judgements[second.id]?.status == .valid)
    }
}

import Foundation
import Testing

@testable import EvimCore

/// A file as an iPhone writes it, with made-up times, which Python's tests read.
@Suite struct DeviceFileTests {
    private static func results() async throws -> Results {
        let milliseconds: [ComputeUnits: Double] = [
            .all: 1.06, .cpuOnly: 1.37, .cpuAndGPU: 1.29, .cpuAndNeuralEngine: 1.04,
        ]
        let bench = try Bench(
            milliseconds.mapValues { FakeBehavior(seconds: $0 / 1000, durations: [1: 0.0192]) },
            states: [.nominal, .nominal, .nominal, .nominal, .nominal, .nominal, .fair])
        return await bench.run(try BenchmarkRequest(mode: .modelbench, seed: 0, rounds: 6))
    }

    @Test func theRunnerWritesThisFileToTheByte() async throws {
        let written = try await Self.results().encoded()
        guard ProcessInfo.processInfo.environment["EVIM_WRITE_FIXTURES"] == nil else {
            let folder = URL(filePath: #filePath).deletingLastPathComponent()
            return try written.write(to: folder.appending(path: "Fixtures/device.json"))
        }
        #expect(try written == Fixtures.data("device.json"))
    }

    @Test func everyFigureInItIsValid() throws {
        let results = try Results(decoding: Fixtures.data("device.json"))
        #expect(results.complete)
        #expect(results.contenders.map(\.mode) == ["all", "cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine", "all"])
        #expect(Validity.judge(results).values.map(\.status) == [.valid, .valid, .valid, .valid])
        let neural = try #require(results.contender(on: .cpuAndNeuralEngine))
        let mean = try #require(Statistics.modelBenchMean(rounds: neural.rounds.map(\.samples)))
        #expect(abs(mean - 0.00104) < 0.00001)
    }
}

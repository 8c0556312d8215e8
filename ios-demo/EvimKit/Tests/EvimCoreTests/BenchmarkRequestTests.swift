import Testing

@testable import EvimCore

@Suite struct BenchmarkRequestTests {
    @Test(
        arguments: [
            (BenchmarkMode.paper, nil, nil, []),
            (.paper, 1, nil, ["1 seconds of timing instead of 60"]),
            (.paper, 90, 3, []),
            (.sustained, 0.5, 2, ["0.5 seconds of timing instead of 300", "2 rounds instead of 30"]),
            (.modelbench, 5, 6, ["6 rounds instead of 20"]),
        ] as [(BenchmarkMode, Double?, Int?, [String])])
    func saysWhatIsLessThanTheModeHas(mode: BenchmarkMode, seconds: Double?, rounds: Int?, said: [String]) throws {
        let request = try BenchmarkRequest(mode: mode, seconds: seconds, rounds: rounds)
        #expect(request.deviations == said)
        #expect(request.mode.rounds == rounds ?? mode.rounds)
        #expect(request.mode.seconds == (mode == .modelbench ? 0 : seconds ?? mode.seconds))
    }

    @Test func unitsCountOnce() throws {
        let request = try BenchmarkRequest(mode: .paper, units: [.cpuOnly, .all, .cpuOnly])
        #expect(request.units == [.cpuOnly, .all])
    }

    @Test(
        arguments: [
            ([], nil, nil), ([.all], 0, nil), ([.all], -1, nil), ([.all], .nan, nil), ([.all], .infinity, nil),
            ([.all], nil, 0), ([.all], nil, 1_000_001),
        ] as [([ComputeUnits], Double?, Int?)])
    func refusesWhatCannotBeMet(units: [ComputeUnits], seconds: Double?, rounds: Int?) {
        #expect(throws: EvimError.self) {
            try BenchmarkRequest(mode: .paper, units: units, seconds: seconds, rounds: rounds)
        }
    }
}

import Testing

@testable import EvimCore

@Suite struct BenchmarkModeTests {
    @Test func modesAreAsTheirOriginals() throws {
        #expect(BenchmarkMode.all.map(\.id) == ["paper", "modelbench", "sustained"])
        #expect((BenchmarkMode.paper.warmupSeconds, BenchmarkMode.paper.seconds) == (10, 60))
        #expect((BenchmarkMode.modelbench.rounds, BenchmarkMode.modelbench.samplesPerRound) == (20, 50))
        #expect(BenchmarkMode.modelbench.dropped == 10)
        #expect((BenchmarkMode.sustained.seconds, BenchmarkMode.sustained.rounds) == (300, 30))
        #expect(try BenchmarkMode.named("paper") == .paper)
    }

    @Test func anUnknownNameIsToldTheOthers() {
        #expect(throws: EvimError.usage("There is no mode fast. Name some of paper, modelbench, sustained.")) {
            try BenchmarkMode.named("fast")
        }
        let units = "There are no compute units npu. Name some of all, cpuOnly, cpuAndGPU, cpuAndNeuralEngine."
        #expect(throws: EvimError.usage(units)) { try ComputeUnits.named("npu") }
    }
}

import Foundation
import Testing

@testable import EvimCore

/// A person who stops the run, or leaves the app.
@Suite struct BenchmarkInterruptionTests {
    private static func run(
        _ behavior: FakeBehavior, _ mode: BenchmarkMode, states: [ThermalState] = [.nominal]
    ) async throws -> Results {
        let bench = try Bench([.cpuOnly: behavior], states: states)
        let results = await bench.run(
            try BenchmarkRequest(mode: mode, units: [.all, .cpuOnly, .cpuAndGPU], seconds: 3))
        #expect(try Results(decoding: results.encoded()) == results)
        #expect(results.readings.last?.phase == .after)
        return results
    }

    @Test func whatWasMeasuredStays() async throws {
        // the first prediction, some of the 10 s of warm-up at 10 ms each, and a third of the timing
        let results = try await Self.run(FakeBehavior(seconds: 0.01, cancelsAt: 1100), .paper)
        #expect(!results.complete)
        #expect(results.incompleteBecause == "interrupted")
        let (done, cut, rest) = (results.contenders[0], results.contenders[1], results.contenders[2])
        #expect((done.outcome, done.reason) == (.measured, nil))
        #expect((cut.outcome, cut.reason) == (.measured, "interrupted"))
        #expect(cut.samples.count > 50 && cut.samples.count < 150)
        #expect((rest.outcome, rest.reason) == (.notReached, "interrupted"))
        #expect(rest.rounds.isEmpty && rest.check == nil)
        let judgements = Validity.judge(results)
        #expect(judgements[done.id]?.status == .valid)
        #expect(judgements[cut.id]?.reasons == ["interrupted"])
        #expect(judgements[rest.id]?.status == .notMeasured)
    }

    @Test(arguments: [1, 2, 20])
    func beforeTheFirstSampleNothingIsMeasured(prediction: Int) async throws {
        let results = try await Self.run(FakeBehavior(cancelsAt: prediction), .paper)
        #expect(!results.complete)
        #expect(results.contenders.map(\.outcome) == [.measured, .notReached, .notReached])
    }

    @Test func whileLoadingNothingFails() async throws {
        let results = try await Self.run(FakeBehavior(cancelsAtLoad: 1), .modelbench)
        #expect(results.contenders.map(\.outcome) == [.notReached, .notReached, .notReached, .notReached])
        #expect(results.contenders.map(\.reason) == ["interrupted", "interrupted", "interrupted", "interrupted"])
        #expect(!results.complete)
    }

    @Test(arguments: [4, 9])
    func interleavedRoundsStay(load: Int) async throws {
        let results = try await Self.run(FakeBehavior(cancelsAtLoad: load), .modelbench)
        #expect(!results.complete)
        #expect(results.contenders.allSatisfy { (load - 2...load - 1).contains($0.rounds.count) })
        #expect(results.contenders.allSatisfy { $0.reason == "interrupted" })
        #expect(results.contenders.flatMap(\.rounds).allSatisfy { $0.samples.count == 50 })
        // a control's answers are those of the contender that it repeats
        #expect(results.contender(on: .all, role: .control)?.check?.status == .equal)
    }

    @Test func withoutTheLastCheckTheRunIsNotComplete() async throws {
        let bench = try Bench()
        let request = try BenchmarkRequest(mode: .modelbench, units: [.all], rounds: 1)
        let results = await bench.run(request) { progress in
            // no sample is missing when this is told, and the last check is still to come
            if progress.fraction == 1 { withUnsafeCurrentTask { $0?.cancel() } }
        }
        #expect(results.contenders.allSatisfy { $0.samples.count == 50 })
        #expect(!results.complete)
        #expect(results.contenders.count { $0.reason == "interrupted" } == 1)
    }
}

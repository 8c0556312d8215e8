import Foundation
import Testing

@testable import EvimCore

/// What goes wrong on the way, and what stays.
@Suite struct BenchmarkFailureTests {
    /// A run whose first compute units misbehave, next to ones that do not.
    private static func run(
        _ behavior: FakeBehavior, _ mode: BenchmarkMode, seconds: Double? = nil, rounds: Int? = nil
    ) async throws -> (results: Results, bad: Results.Contender) {
        let bench = try Bench([.all: behavior])
        let request = try BenchmarkRequest(mode: mode, units: [.all, .cpuOnly], seconds: seconds, rounds: rounds)
        let results = await bench.run(request)
        // whatever happened, the file is one that can be read
        #expect(try Results(decoding: results.encoded()) == results)
        return (results, try #require(results.contender(on: .all)))
    }

    @Test(arguments: [BenchmarkMode.paper, .modelbench, .sustained])
    func aModelThatDoesNotLoadIsLeft(mode: BenchmarkMode) async throws {
        let refusal = EvimError.modelRefused(name: "m4", why: "no such file.")
        let (results, bad) = try await Self.run(FakeBehavior(refusal: refusal), mode, seconds: 2)
        #expect(bad.outcome == .failed)
        #expect(bad.reason == "Core ML does not load m4: no such file.")
        #expect(bad.rounds.isEmpty)
        #expect(results.contender(on: .cpuOnly)?.outcome == .measured)
        #expect(results.complete)
        #expect(Validity.judge(results)[bad.id]?.status == .notMeasured)
        // the control then times the first that loads
        #expect(results.contender(on: .cpuOnly, role: .control) != nil || mode != .modelbench)
    }

    @Test(arguments: [Float.nan, .infinity, 100])
    func wrongAnswersAreTimedAndInvalid(error: Float) async throws {
        let (results, bad) = try await Self.run(FakeBehavior(error: (error, 0)), .paper, seconds: 2)
        #expect(bad.outcome == .measured)
        #expect(bad.check?.status == .different)
        #expect(bad.samples.count > 1000)
        #expect(results.complete)
        let judgement = Validity.judge(results)[bad.id]
        #expect(judgement?.status == .invalid)
        #expect(judgement?.reasons == ["its answers differ: \(bad.check?.against ?? "")"])
    }

    @Test func answersThatWereWrongOnceStayInvalid() async throws {
        let (results, bad) = try await Self.run(FakeBehavior(error: (.nan, 0), rights: 100), .paper, seconds: 2)
        #expect(bad.check?.status == .different)
        #expect(Validity.judge(results)[bad.id]?.status == .invalid)
    }

    @Test(arguments: [BenchmarkMode.paper, .modelbench])
    func answersThatGoWrongAreFoundAtTheEnd(mode: BenchmarkMode) async throws {
        let (results, bad) = try await Self.run(FakeBehavior(error: (.nan, 500)), mode, seconds: 2)
        #expect(bad.outcome == .measured)
        #expect(bad.check?.status == .different)
        #expect(bad.rounds.count == results.timingProtocol.rounds)
        let judgement = Validity.judge(results)[bad.id]
        #expect(judgement?.status == .invalid)
        #expect(judgement?.reasons == ["its answers differ: logits of image 0 has values that are not numbers"])
    }

    @Test(arguments: [0, -3.0])
    func aClockThatDoesNotGoForwardEndsTheContender(duration: Double) async throws {
        let behavior = FakeBehavior(durations: [2200: duration])
        let (results, bad) = try await Self.run(behavior, .sustained, seconds: 4, rounds: 4)
        #expect(bad.outcome == .failed)
        #expect(bad.reason == "The clock said that a prediction took \(duration) s.")
        #expect(bad.rounds.count == 2)
        #expect(Validity.judge(results)[bad.id]?.status == .invalid)
        let times = results.readings.map(\.atSeconds)
        #expect(times == times.sorted())
        #expect(results.contender(on: .cpuOnly)?.rounds.count == 4)
    }

    @Test func aPredictionThatFailsEndsTheContenderOrItsControl() async throws {
        let (results, _) = try await Self.run(FakeBehavior(throwsAt: 120), .modelbench)
        let failed = results.contenders.filter { $0.outcome == .failed }
        #expect(failed.map(\.reason) == ["Core ML does not load the fake: it had enough."])
        #expect(failed.allSatisfy { $0.mode == "all" && $0.rounds.count < 3 })
        #expect(results.contenders.map(\.rounds.count).sorted().suffix(2) == [20, 20])
        #expect(results.complete)
    }

    @Test func nothingLoadsAndTheFileSaysSo() async throws {
        let refused = FakeBehavior(refusal: .emptyImage(width: 0, height: 0))
        let behaviors = Dictionary(uniqueKeysWithValues: ComputeUnits.allCases.map { ($0, refused) })
        let results = await (try Bench(behaviors)).run(try BenchmarkRequest(mode: .modelbench))
        #expect(results.complete)
        #expect(results.contenders.count == 4)
        #expect(results.contenders.allSatisfy { $0.outcome == .failed })
        #expect(try Results(decoding: results.encoded()) == results)
    }

    @Test func withoutAGoldenFileTheTimesAreSuspect() async throws {
        var bench = try Bench()
        bench.golden = nil
        let results = await bench.run(try BenchmarkRequest(mode: .paper, units: [.all], seconds: 1))
        #expect(
            Validity.judge(results).values.map(\.reasons)
                == [["its answers were not checked: there is no golden file beside the model"]])
    }
}

import Foundation

@testable import EvimCore

/// How a fake model behaves on some compute units.
struct FakeBehavior: Sendable {
    /// Of a prediction, seconds; what is drawn lies within 3 % of it.
    var seconds = 0.001
    /// Is thrown instead of loading.
    var refusal: EvimError?
    /// How far each logit is off, from which prediction on.
    var error = (by: Float(0.015625), from: 0)
    /// From which prediction on the answers are right, whatever the error.
    var rights = Int.max
    /// Durations instead of drawn ones, by the prediction's number: 0 for a clock that stands still, or less.
    var durations: [Int: Double] = [:]
    /// The prediction that throws.
    var throwsAt: Int?
    /// Times longer from that prediction on.
    var slows = (times: 1.0, from: Int.max)
    /// The prediction that cancels its task.
    var cancelsAt: Int?
    /// The load that cancels its task.
    var cancelsAtLoad: Int?
}

/// Loads fake models, and counts what is done with them.
final class FakeLoader: ModelLoader {
    struct Counts {
        var loads: [ComputeUnits] = []
        var predictions: [ComputeUnits: Int] = [:]
        var generator = SeededGenerator(seed: 4)
    }

    let counts = Locked(Counts())
    private let behaviors: [ComputeUnits: FakeBehavior]
    fileprivate let clock: FakeClock

    /// A loader whose loading takes 0.25 s.
    init(_ behaviors: [ComputeUnits: FakeBehavior] = [:], clock: FakeClock) {
        self.behaviors = behaviors
        self.clock = clock
    }

    func load(_ units: ComputeUnits) async throws -> any LoadedModel {
        let behavior = behaviors[units] ?? FakeBehavior()
        let count = counts { counts in
            counts.loads.append(units)
            return counts.loads.count(where: { $0 == units })
        }
        clock.advance(by: 0.25)
        if let refusal = behavior.refusal { throw refusal }
        if count == behavior.cancelsAtLoad { cancelThisTask() }
        return FakeModel(units: units, behavior: behavior, loader: self)
    }
}

/// A model that has no network, and answers a golden file of ``FakeModel/expected``.
struct FakeModel: LoadedModel {
    static let expected: [[Float]] = [[0, 2, 1, 0], [4, 1, 0, 2]]

    /// The golden file that it answers; its control is refused unless the test says otherwise.
    static func golden(control: [[Float]] = [[2, 0, 0, 1], [0, 1, 4, 2]]) throws -> Golden {
        var builder = GoldenBuilder(expected: expected, control: control)
        builder.document["tolerance"] = ["max_abs": 0.05, "mean_abs": 0.005] as [String: any Sendable]
        return try builder.golden()
    }

    let units: ComputeUnits
    let behavior: FakeBehavior
    let loader: FakeLoader

    func outputs(of golden: Golden) async throws -> [[String: [Float]]] {
        let done = loader.counts { $0.predictions[units, default: 0] }
        let error = done < behavior.error.from || done >= behavior.rights ? 0 : behavior.error.by
        return Self.expected.map { logits in ["logits": logits.map { $0 + error }] }
    }

    func time(_ burst: Burst, by clock: any MonotonicClock) async throws -> [Double] {
        try burst.time(by: clock) { try predict() }
    }

    private func predict() throws {
        let (number, noise) = loader.counts { counts in
            let number = counts.predictions[units, default: 0] + 1
            counts.predictions[units] = number
            // three uniform figures: no function of the system's own, so that the noise is the same on all of them
            let sum = (0..<3).reduce(0.0) { drawn, _ in drawn + Double(counts.generator.next() >> 11) * 0x1p-53 }
            return (number, 0.02 * (sum - 1.5))
        }
        if number == behavior.throwsAt { throw EvimError.modelRefused(name: "the fake", why: "it had enough.") }
        let slower = number < behavior.slows.from ? 1 : behavior.slows.times
        loader.clock.advance(by: behavior.durations[number] ?? behavior.seconds * (1 + noise) * slower)
        if number == behavior.cancelsAt { cancelThisTask() }
    }
}

private func cancelThisTask() {
    withUnsafeCurrentTask { $0?.cancel() }
}

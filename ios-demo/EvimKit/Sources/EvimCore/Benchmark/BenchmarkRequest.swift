/// What a person asks to be timed.
public struct BenchmarkRequest: Equatable, Sendable {
    /// How samples are taken, with the figures that the person changed.
    public let mode: BenchmarkMode
    /// The compute units, each once, in order.
    public let units: [ComputeUnits]
    /// Of the order of the compute units in each round.
    public let seed: Int
    /// In what the run departs from the mode's own figures, in words.
    public let deviations: [String]

    /// A request.
    ///
    /// - Parameters:
    ///   - mode: One of ``BenchmarkMode/all``.
    ///   - units: Compute units; one that is named twice counts once.
    ///   - seed: Of the order of the compute units in each round.
    ///   - seconds: Least time of timed predictions instead of the mode's, 0.001 to 1e6; a mode that counts
    ///     predictions does not look at it.
    ///   - rounds: Rounds instead of the mode's, 1 to 1 000 000.
    /// - Throws: ``EvimError/usage(_:)`` if there are no units, or a figure is out of its range.
    public init(
        mode: BenchmarkMode, units: [ComputeUnits] = ComputeUnits.allCases, seed: Int = 0, seconds: Double? = nil,
        rounds: Int? = nil
    ) throws(EvimError) {
        guard !units.isEmpty else { throw .usage("No compute units are named to time on.") }
        try BenchmarkRequest.check(seconds: seconds, rounds: rounds)
        self.mode = mode.with(seconds: seconds, rounds: rounds)
        self.units = units.indices.filter { !units[..<$0].contains(units[$0]) }.map { units[$0] }
        self.seed = seed
        deviations = self.mode.deviations(from: mode)
    }

    /// - Throws: ``EvimError/usage(_:)`` if a figure is out of its range; the ranges are those of `latency/plan.py`.
    static func check(seconds: Double?, rounds: Int?) throws(EvimError) {
        if let seconds, !(0.001...1e6).contains(seconds) {
            throw .usage("\(seconds) seconds of timing are impossible. Give from 0.001 to 1e6.")
        }
        if let rounds, !(1...1_000_000).contains(rounds) {
            throw .usage("\(rounds) rounds are impossible. Give from 1 to 1000000.")
        }
    }
}

extension BenchmarkRequest {
    /// How samples were taken, as the file tells it.
    var timingProtocol: Results.TimingProtocol {
        Results.TimingProtocol(
            name: mode.name, seconds: mode.seconds, warmupSeconds: mode.warmupSeconds, rounds: mode.rounds, seed: seed,
            budgetSeconds: nil, deviations: deviations)
    }
}

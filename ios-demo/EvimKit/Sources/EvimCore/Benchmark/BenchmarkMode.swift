import Foundation

/// A way to take samples on a phone.
public struct BenchmarkMode: Equatable, Identifiable, Sendable {
    /// As the command line and a results file have it.
    public let name: String
    /// Least time of predictions before the first sample, seconds.
    public let warmupSeconds: Double
    /// Least time of timed predictions of each contender, over all rounds, seconds; 0 where predictions are counted.
    public let seconds: Double
    /// That the predictions are spread over.
    public let rounds: Int
    /// Predictions in a round; nil where time is counted.
    public let samplesPerRound: Int?
    /// Whether the model is loaded anew for each round, and its first prediction discarded.
    public let reloadsEachRound: Bool
    /// Whether a round goes over all compute units in a random order, with a control; else each is timed to its end.
    public let interleaves: Bool
    /// How many lowest and how many highest samples of a round are no part of the mode's mean.
    public let dropped: Int
    /// Whether a device that is hot is let cool before timing begins.
    public let waitsUntilCool: Bool

    /// The name, which no other mode has.
    public var id: String { name }

    /// Every mode.
    public static let all: [BenchmarkMode] = [paper, modelbench, sustained]

    /// `paper` of `latency/protocol.py`, with one image at a time: what the published scripts do.
    public static let paper = BenchmarkMode(
        name: "paper", warmupSeconds: 10, seconds: 60, rounds: 1, samplesPerRound: nil, reloadsEachRound: false,
        interleaves: false, dropped: 0, waitsUntilCool: true)

    /// What Apple's ModelBench does, with the compute units in turn instead of one after another.
    public static let modelbench = BenchmarkMode(
        name: "modelbench", warmupSeconds: 0, seconds: 0, rounds: 20, samplesPerRound: 50, reloadsEachRound: true,
        interleaves: true, dropped: 10, waitsUntilCool: true)

    /// What heat does: five minutes without a warm-up, and without a pause between rounds or compute units.
    public static let sustained = BenchmarkMode(
        name: "sustained", warmupSeconds: 0, seconds: 300, rounds: 30, samplesPerRound: nil, reloadsEachRound: false,
        interleaves: false, dropped: 0, waitsUntilCool: false)

    /// The mode of a name.
    ///
    /// - Throws: ``EvimError/usage(_:)``, which lists the names.
    public static func named(_ name: String) throws(EvimError) -> BenchmarkMode {
        guard let mode = all.first(where: { $0.name == name }) else {
            throw .usage("There is no mode \(name). Name some of \(all.map(\.name).joined(separator: ", ")).")
        }
        return mode
    }

    /// The mode with other figures; seconds are left as they are where the mode counts predictions.
    func with(seconds: Double?, rounds: Int?) -> BenchmarkMode {
        BenchmarkMode(
            name: name, warmupSeconds: warmupSeconds,
            seconds: samplesPerRound == nil ? seconds ?? self.seconds : self.seconds, rounds: rounds ?? self.rounds,
            samplesPerRound: samplesPerRound, reloadsEachRound: reloadsEachRound, interleaves: interleaves,
            dropped: dropped, waitsUntilCool: waitsUntilCool)
    }

    /// In what the mode asks for less than the one that it is named after, as `latency/protocol.py` says it.
    func deviations(from usual: BenchmarkMode) -> [String] {
        let figures = [
            ("seconds of timing", seconds, usual.seconds),
            ("seconds of warm-up", warmupSeconds, usual.warmupSeconds),
            ("rounds", Double(rounds), Double(usual.rounds)),
        ]
        return figures.filter { $0.1 < $0.2 }.map { what, asked, usual in
            "\(String(format: "%g", asked)) \(what) instead of \(String(format: "%g", usual))"
        }
    }
}

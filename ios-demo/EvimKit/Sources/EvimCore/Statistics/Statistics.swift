import Foundation

/// Figures of samples, as `latency/statistics.py` computes them; nil where there are too few samples to say.
public enum Statistics {
    /// Fewest rounds of which a ratio is told.
    static let fewestRounds = 5

    /// Fewest samples of which ``slowdown(_:)`` is told.
    static let fewestToSlowDown = 25

    /// Cut off each end before the mean of ratios is taken, a share.
    private static let trimmed = 0.2

    /// What `percent` of 100 samples do not exceed, between two samples on the line that joins them (numpy's
    /// `linear`).
    public static func percentile(_ percent: Double, of samples: [Double]) -> Double? {
        samples.isEmpty ? nil : percentile(percent, ofOrdered: samples.sorted())
    }

    /// The mean of what is left without so many lowest and so many highest samples.
    ///
    /// Where no more than twice as many samples are there, none is dropped.
    public static func trimmedMean(_ samples: [Double], dropping dropped: Int) -> Double? {
        guard !samples.isEmpty else { return nil }
        guard dropped > 0, samples.count > 2 * dropped else { return mean(samples) }
        return mean(samples.sorted().dropFirst(dropped).dropLast(dropped))
    }

    /// The figure that Apple's ModelBench tells: the mean of the rounds' trimmed means.
    ///
    /// - Parameters:
    ///   - rounds: Samples round by round.
    ///   - dropped: How many lowest and how many highest samples of each round are dropped.
    /// - Returns: The mean in the samples' unit; nil without samples.
    public static func modelBenchMean(rounds: [[Double]], dropping dropped: Int = 10) -> Double? {
        let means = rounds.compactMap { trimmedMean($0, dropping: dropped) }
        return means.isEmpty ? nil : mean(means)
    }

    /// How many times as long the last fifth of the samples took as the first, by their medians.
    ///
    /// A phone can slow down while its thermal state still says nominal, so the order of samples is asked.
    ///
    /// - Parameter samples: In the order in which they were taken.
    /// - Returns: The ratio of last to first; nil of fewer than 25 samples.
    public static func slowdown(_ samples: [Double]) -> Double? {
        guard samples.count >= fewestToSlowDown else { return nil }
        let fifth = samples.count / 5
        return median(samples.suffix(fifth)) / median(samples.prefix(fifth))
    }

    /// What rounds of log ratios come to, as a ratio: `typical_ratio` of `latency/statistics.py`, without its
    /// interval.
    static func typicalRatio(logs: [Double]) -> Double? {
        guard logs.count >= fewestRounds else { return nil }
        return trimmedMean(logs, dropping: Int(trimmed * Double(logs.count))).map { exp($0) }
    }

    static func median(_ samples: some Collection<Double>) -> Double {
        median(ofOrdered: samples.sorted())
    }

    static func median(ofOrdered samples: [Double]) -> Double {
        let middle = samples.count / 2
        return samples.count.isMultiple(of: 2) ? (samples[middle - 1] + samples[middle]) / 2 : samples[middle]
    }

    static func mean(_ samples: some Collection<Double>) -> Double {
        samples.reduce(0, +) / Double(samples.count)
    }

    static func deviation(_ samples: [Double], around mean: Double) -> Double {
        guard samples.count > 1 else { return 0 }
        let squares = samples.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (squares / Double(samples.count - 1)).squareRoot()
    }

    static func percentile(_ percent: Double, ofOrdered samples: [Double]) -> Double {
        let place = Double(samples.count - 1) * min(max(percent / 100, 0), 1)
        let below = samples[Int(place)]
        let above = samples[min(Int(place) + 1, samples.count - 1)]
        let share = place - place.rounded(.down)
        // numpy starts from the nearer of the two, and so does this, for the last digit
        return share < 0.5 ? below + (above - below) * share : above - (above - below) * (1 - share)
    }
}

import EvimCore
import SwiftUI

/// A contender's one figure, as its mode computes it.
struct Steady {
    let title: LocalizedStringResource
    /// Of one prediction.
    let seconds: Double

    /// - Parameters:
    ///   - contender: It has samples.
    ///   - summary: Of all of them.
    ///   - mode: The mode's name.
    init(of contender: Results.Contender, summary: Summary, mode: String) {
        switch mode {
        case BenchmarkMode.paper.name:
            (title, seconds) = (LocalizedStringResource("Mean"), summary.mean)
        case BenchmarkMode.modelbench.name:
            let rounds = contender.rounds.map(\.samples)
            title = LocalizedStringResource("Trimmed mean of rounds")
            seconds = Statistics.modelBenchMean(rounds: rounds) ?? summary.mean
        default:
            (title, seconds) = (LocalizedStringResource("Median"), summary.median)
        }
    }
}

import EvimCore
import Foundation

/// A round of a contender, and what the device said last before it.
struct TimedRound: Identifiable {
    let id: Int
    /// The contender's.
    let title: String
    /// From 1.
    let number: Int
    let thermal: ThermalState?

    /// The rounds of all contenders, in the order in which they began.
    static func all(of results: Results) -> [TimedRound] {
        let rounds = results.contenders.flatMap { contender in contender.rounds.map { (contender, $0) } }
        let ordered = rounds.sorted { $0.1.startedSeconds < $1.1.startedSeconds }
        return ordered.enumerated().map { place, entry in
            let (contender, round) = entry
            let before = results.readings.last { $0.atSeconds <= round.startedSeconds }
            return TimedRound(
                id: place, title: contender.title, number: round.index + 1, thermal: before?.thermalState)
        }
    }
}

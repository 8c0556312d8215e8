import Foundation

/// Contenders whose rounds were taken next to each other; `Group` of `latency/judgement.py`.
struct ContenderGroup {
    /// What the id of a control has after that of the contender that it times once more.
    static let control = ", control"

    private static let controlStrays = 0.03

    /// Without the control and the yardstick.
    let contenders: [Results.Contender]
    /// Whether work that never changes was timed beside them.
    let hasYardstick: Bool

    private let twin: Results.Contender?
    private let readings: [Results.Reading]

    /// The groups of a file, in order.
    static func all(of results: Results) -> [ContenderGroup] {
        let names = results.contenders.map(\.group)
        let inOrder = names.indices.filter { names.firstIndex(of: names[$0]) == $0 }.map { names[$0] }
        let members = inOrder.map { name in results.contenders.filter { $0.group == name } }
        let begun = members.map { group in group.flatMap(\.rounds).map(\.startedSeconds).min() ?? .infinity }
        return zip(members, begun).map { group, start in
            let end = begun.filter { $0 > start }.min() ?? .infinity
            return ContenderGroup(group, readings: readings(of: results, from: start, to: end))
        }
    }

    private init(_ members: [Results.Contender], readings: [Results.Reading]) {
        contenders = members.filter { $0.role == .contender }
        hasYardstick = members.contains { $0.role == .yardstick }
        twin = members.last { $0.role == .control }
        self.readings = readings
    }

    /// The last reading before a group's first round, and those from then on until the next group's.
    private static func readings(of results: Results, from start: Double, to end: Double) -> [Results.Reading] {
        let before = results.readings.last { $0.atSeconds < start }
        return [before].compactMap(\.self) + results.readings.filter { start <= $0.atSeconds && $0.atSeconds < end }
    }

    /// What about the device may have bent the figures, in words.
    var conditions: [String] {
        var found: [String] = []
        if let strays = controlRatio, abs(strays - 1) > Self.controlStrays {
            found.append("a second process of the same thing took \(String(format: "%.2f", strays)) times as long")
        }
        if let twin, !Self.wasTimed(twin) {
            let reason = twin.reason ?? twin.outcome.rawValue
            found.append("a second process of the same thing was not timed: \(reason)")
        }
        if readings.contains(where: { $0.thermalState?.isHot == true }) { found.append("the device was hot") }
        if readings.contains(where: { $0.lowPowerMode == true }) { found.append("low power mode was on") }
        return found
    }

    /// How many times as long the control took as the contender that it repeats: 1 on a device without noise.
    private var controlRatio: Double? {
        guard let twin, let first = contenders.first(where: { $0.id + Self.control == twin.id }),
            Self.wasTimed(twin), Self.wasTimed(first)
        else { return nil }
        let medians = Self.medians(first)
        let ours = Self.medians(twin)
        let logs = twin.rounds.compactMap { round -> Double? in
            guard let numerator = ours[round.index], let denominator = medians[round.index] else { return nil }
            return log(numerator) - log(denominator)
        }
        return Statistics.typicalRatio(logs: logs)
    }

    /// Whether a contender has samples of a right answer, and did not fail on the way.
    private static func wasTimed(_ contender: Results.Contender) -> Bool {
        !contender.rounds.isEmpty && contender.outcome == .measured && contender.check?.status != .different
    }

    /// The median time of an image in each round, by the round's index.
    private static func medians(_ contender: Results.Contender) -> [Int: Double] {
        var medians: [Int: Double] = [:]
        for round in contender.rounds {
            medians[round.index] = Statistics.median(round.samples) / Double(contender.batch)
        }
        return medians
    }
}

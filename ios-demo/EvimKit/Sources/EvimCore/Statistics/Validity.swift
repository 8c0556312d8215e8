import Foundation

/// What may be said of a results file: `latency/judgement.py`, for what a phone's file can have.
///
/// Both say the same sentences, which shared fixtures hold them to.
public enum Validity {
    private static let outliers = 0.1
    private static let slowdown = 1.1
    private static let fewestSamples = 5

    /// How far each contender's figures can be believed, by its id; controls and yardsticks are not judged.
    public static func judge(_ results: Results) -> [String: Judgement] {
        var found: [String: Judgement] = [:]
        for group in ContenderGroup.all(of: results) {
            for contender in group.contenders {
                found[contender.id] = judge(contender, in: group, rounds: results.timingProtocol.rounds)
            }
        }
        return found
    }

    private static func judge(_ contender: Results.Contender, in group: ContenderGroup, rounds: Int) -> Judgement {
        guard let summary = try? Summary(contender.samples) else {
            let reason = contender.reason ?? contender.outcome.rawValue
            return Judgement(status: .notMeasured, reasons: [reason], summary: nil)
        }
        if let check = contender.check, check.status == .different {
            return Judgement(status: .invalid, reasons: ["its answers differ: \(check.against)"], summary: summary)
        }
        if contender.outcome != .measured {
            let reason = "it failed on the way: \(contender.reason ?? "None")"
            return Judgement(status: .invalid, reasons: [reason], summary: summary)
        }
        let reasons = group.conditions + doubts(about: contender, summary, in: group, rounds: rounds)
        return Judgement(status: reasons.isEmpty ? .valid : .suspect, reasons: reasons, summary: summary)
    }

    /// What may have bent the figures of one contender, in the order in which Python says it.
    private static func doubts(
        about contender: Results.Contender, _ summary: Summary, in group: ContenderGroup, rounds: Int
    ) -> [String] {
        var doubts: [String] = []
        if contender.check?.status != .equal {
            doubts.append("its answers were not checked: \(contender.check?.against ?? "no record")")
        }
        if let reason = contender.reason { doubts.append(reason) }
        if contender.rounds.count < rounds {
            doubts.append("\(contender.rounds.count) of \(rounds) rounds were timed")
        }
        if summary.count < fewestSamples { doubts.append("it has \(summary.count) samples") }
        if Double(summary.outliers.count) > outliers * Double(summary.count) {
            doubts.append("\(summary.outliers.count) of \(summary.count) samples are outliers")
        }
        // beside a yardstick the machine's speed is known; a phone tells of its heat late or never
        if !group.hasYardstick, let slower = Statistics.slowdown(contender.samples), slower > slowdown {
            let times = String(format: "%.2f", slower)
            doubts.append("it took \(times) times as long at the end as at the beginning")
        }
        return doubts
    }
}

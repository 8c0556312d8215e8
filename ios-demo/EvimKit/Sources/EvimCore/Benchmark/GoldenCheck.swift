import Foundation

/// Holds a loaded model against its golden file, before and after it is timed.
struct GoldenCheck: Sendable {
    private static let reference = "PyTorch fp32, golden"

    /// Nil where there is none.
    let golden: Golden?

    /// What the model computes.
    ///
    /// - Throws: What the model throws.
    func check(_ model: any LoadedModel) async throws -> Results.Check {
        guard let golden else { return Self.notChecked("there is no golden file beside the model") }
        let parity = try golden.compare(await model.outputs(of: golden))
        let error = parity.maxAbs.isFinite ? parity.maxAbs : nil
        switch parity.status {
        case .pass:
            return Results.Check(
                status: .equal, against: Self.reference, error: error, tolerance: parity.tolerance.maxAbs)
        case .cannotFail:
            return Self.notChecked("the golden file takes disturbed weights for the right ones, too")
        case .fail:
            return Results.Check(
                status: .different, against: Self.difference(parity), error: error,
                tolerance: parity.tolerance.maxAbs)
        }
    }

    private static func notChecked(_ why: String) -> Results.Check {
        Results.Check(status: .notChecked, against: why, error: nil, tolerance: nil)
    }

    private static func difference(_ parity: Parity) -> String {
        let place = "\(parity.worstOutput) of \(parity.worstCase)"
        guard parity.maxAbs.isFinite else { return "\(place) has values that are not numbers" }
        let byMean = parity.maxAbs <= parity.tolerance.maxAbs
        let error = byMean ? parity.meanAbs : parity.maxAbs
        let most = byMean ? parity.tolerance.meanAbs : parity.tolerance.maxAbs
        return "\(place) is \(byMean ? "on average " : "")\(short(error)) of its range off \(reference), "
            + "and \(short(most)) is allowed"
    }

    private static func short(_ number: Double) -> String {
        String(format: "%.2g", number)
    }
}

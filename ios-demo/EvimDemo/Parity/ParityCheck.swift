import EvimCore
import EvimCoreML
import Foundation

/// What one choice of compute units computed, beside what Linux did.
struct ParityCheck: Identifiable, Sendable {
    let units: ComputeUnits
    let outcome: Result<Parity, Failure>

    var id: ComputeUnits { units }

    /// Loads a package for some compute units, and compares all golden images.
    static func run(_ package: URL, on units: ComputeUnits, against golden: Golden) async -> ParityCheck {
        do {
            let model = try await EvimModel(contentsOf: package, units: units)
            let parity = try golden.compare(try await model.outputs(of: golden))
            return ParityCheck(units: units, outcome: .success(parity))
        } catch {
            return ParityCheck(units: units, outcome: .failure(Failure(error)))
        }
    }
}

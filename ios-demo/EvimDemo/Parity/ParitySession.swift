import EvimCore
import Observation

/// Checks one choice of compute units after another.
@MainActor
@Observable
final class ParitySession {
    private(set) var golden: Golden?
    private(set) var checks: [ParityCheck] = []
    private(set) var failure: Failure?
    private(set) var isRunning = true

    private var checked: BundledModel?

    /// Checks a model, unless it was the last that was, until the task is cancelled.
    func run(_ model: BundledModel) async {
        guard model != checked else { return }
        (golden, checks, failure, isRunning, checked) = (nil, [], nil, true, nil)
        defer { if !Task.isCancelled { isRunning = false } }
        do {
            let found = try await Task.detached { try model.golden() }.value
            try Task.checkCancellation()
            guard let found else { return }
            golden = found
            for units in ComputeUnits.allCases {
                let check = await ParityCheck.run(model.package, on: units, against: found)
                try Task.checkCancellation()
                checks.append(check)
            }
            checked = model
        } catch {
            if !Task.isCancelled { failure = Failure(error) }
        }
    }
}

import EvimCore
import SwiftUI

/// The comparison on one choice of compute units.
struct ParitySection: View {
    let check: ParityCheck

    var body: some View {
        Section {
            switch check.outcome {
            case .success(let parity): figures(parity)
            case .failure(let failure): FailureView(failure: failure)
            }
        } header: {
            Text(check.units.title)
        }
    }

    @ViewBuilder
    private func figures(_ parity: Parity) -> some View {
        ParityStatusLabel(status: parity.status)
        let (largest, mean) = (Format.error(parity.maxAbs), Format.error(parity.meanAbs))
        let (allowed, allowedMean) = (Format.error(parity.tolerance.maxAbs), Format.error(parity.tolerance.meanAbs))
        LabeledContent("Largest error") { Text("\(largest), at most \(allowed)").monospacedDigit() }
        LabeledContent("Mean error") { Text("\(mean), at most \(allowedMean)").monospacedDigit() }
        if let top1 = parity.top1 {
            LabeledContent("Same first class", value: Format.percent(top1))
        }
        LabeledContent("Furthest image", value: parity.worstCase)
    }
}

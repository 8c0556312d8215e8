import EvimCore
import SwiftUI

/// Pass, fail, or a check that proves nothing.
struct ParityStatusLabel: View {
    let status: Parity.Status

    var body: some View {
        switch status {
        case .pass:
            Label("Pass", systemImage: "checkmark.circle").foregroundStyle(.green)
        case .fail:
            Label("Fail", systemImage: "xmark.octagon").foregroundStyle(.red)
        case .cannotFail:
            Label("Cannot fail, so it proves nothing", systemImage: "questionmark.circle").foregroundStyle(.orange)
        }
    }
}

import EvimCore
import SwiftUI

/// What shows that the check can fail: the answers of a disturbed model, which it must refuse.
struct ControlSection: View {
    let golden: Golden

    var body: some View {
        Section {
            LabeledContent("Images", value: golden.cases.count.formatted())
            Text(verbatim: golden.control)
            if golden.controlParity.status == .fail {
                Label("Refused, as it must be", systemImage: "checkmark.circle")
            } else {
                Label("Not refused: a pass would mean nothing", systemImage: "exclamationmark.triangle")
            }
        } header: {
            Text("Control")
        }
    }
}

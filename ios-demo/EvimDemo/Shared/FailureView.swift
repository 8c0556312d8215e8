import SwiftUI

/// What went wrong and what to do about it, as a row.
struct FailureView: View {
    let failure: Failure

    var body: some View {
        Label {
            VStack(alignment: .leading) {
                Text(verbatim: failure.message)
                if let remedy = failure.remedy {
                    Text(verbatim: remedy).font(.callout).foregroundStyle(.secondary)
                }
            }
        } icon: {
            Image(systemName: "exclamationmark.octagon").foregroundStyle(.red)
        }
        .accessibilityElement(children: .combine)
    }
}

import EvimCore
import SwiftUI

/// How far figures can be believed, and why not further.
struct JudgementView: View {
    let judgement: Judgement

    var body: some View {
        Label {
            VStack(alignment: .leading) {
                Text(title)
                ForEach(judgement.reasons, id: \.self) { reason in
                    Text(verbatim: reason).font(.callout).foregroundStyle(.secondary)
                }
            }
        } icon: {
            icon.foregroundStyle(colour)
        }
        .accessibilityElement(children: .combine)
    }

    private var title: LocalizedStringResource {
        switch judgement.status {
        case .valid: LocalizedStringResource("Valid")
        case .suspect: LocalizedStringResource("Suspect")
        case .invalid: LocalizedStringResource("Invalid")
        case .notMeasured: LocalizedStringResource("Not measured")
        }
    }

    private var icon: Image {
        switch judgement.status {
        case .valid: Image(systemName: "checkmark.circle")
        case .suspect: Image(systemName: "questionmark.circle")
        case .invalid: Image(systemName: "xmark.octagon")
        case .notMeasured: Image(systemName: "minus.circle")
        }
    }

    private var colour: Color {
        switch judgement.status {
        case .valid: .green
        case .suspect: .orange
        case .invalid: .red
        case .notMeasured: .secondary
        }
    }
}

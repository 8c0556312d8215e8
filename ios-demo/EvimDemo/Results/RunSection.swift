import EvimCore
import SwiftUI

/// How and on what a run was made.
struct RunSection: View {
    let results: Results

    var body: some View {
        Section("Run") {
            LabeledContent("Mode", value: results.timingProtocol.name)
            LabeledContent("Device", value: results.host.machine)
            LabeledContent("System", value: results.host.system)
            LabeledContent("Measured by", value: results.tool)
            LabeledContent("Measured on", value: results.created.formatted(date: .abbreviated, time: .shortened))
            if !results.complete {
                Label("Incomplete", systemImage: "circle.dashed")
            }
            ForEach(remarks, id: \.self) { remark in
                Text(verbatim: remark).font(.callout).foregroundStyle(.secondary)
            }
        }
    }

    private var remarks: [String] {
        [results.incompleteBecause].compactMap(\.self) + results.timingProtocol.deviations + results.notes
    }
}

import EvimCore
import SwiftUI

/// One results file in a list: what was measured, how, and when.
struct ResultsRow: View {
    let results: Results

    var body: some View {
        VStack(alignment: .leading) {
            Text(verbatim: results.subjects).font(.headline)
            Text(verbatim: "\(results.timingProtocol.name), \(moment)").font(.callout).foregroundStyle(.secondary)
            if !results.complete {
                Label("Incomplete", systemImage: "circle.dashed").font(.callout)
            }
        }
        .accessibilityElement(children: .combine)
    }

    private var moment: String {
        results.created.formatted(date: .abbreviated, time: .shortened)
    }
}

extension Results {
    /// The names of what was measured, each once.
    var subjects: String {
        var names: [String] = []
        for name in contenders.map(\.subject.name) where !names.contains(name) { names.append(name) }
        return names.joined(separator: ", ")
    }
}

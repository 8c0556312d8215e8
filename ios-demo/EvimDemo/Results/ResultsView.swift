import EvimCore
import SwiftUI

/// What a results file says.
struct ResultsView: View {
    let results: Results
    let url: URL

    var body: some View {
        let judgements = Validity.judge(results)
        List {
            RunSection(results: results)
            Section("Samples in order") {
                SamplesChart(results: results)
            }
            ForEach(results.contenders) { contender in
                ContenderSection(
                    contender: contender, judgement: judgements[contender.id], mode: results.timingProtocol.name)
            }
            Section {
                NavigationLink("Thermal state by round") { RoundsView(results: results) }
            }
        }
        .navigationTitle(Text(verbatim: results.subjects))
        .toolbar {
            ToolbarItem(placement: .primaryAction) { ShareLink(item: url) }
        }
    }
}

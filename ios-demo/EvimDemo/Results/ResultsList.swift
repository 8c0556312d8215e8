import EvimCore
import SwiftUI

/// What was measured before, the newest first.
struct ResultsList: View {
    let store: ResultsStore

    var body: some View {
        Section {
            ForEach(store.files) { file in
                switch file.contents {
                case .success(let results):
                    NavigationLink {
                        ResultsView(results: results, url: file.url)
                    } label: {
                        ResultsRow(results: results)
                    }
                case .failure(let failure):
                    FailureView(failure: failure)
                }
            }
            .onDelete { store.delete($0) }
        } header: {
            Text("Results")
        } footer: {
            if store.files.isEmpty { Text("Nothing was measured yet.") }
        }
    }
}

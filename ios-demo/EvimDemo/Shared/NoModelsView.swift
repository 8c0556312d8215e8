import SwiftUI

/// What is shown where the bundle has no model that can be used.
struct NoModelsView: View {
    let problems: [ModelLibrary.Problem]

    var body: some View {
        if problems.isEmpty {
            ContentUnavailableView {
                Label("No models", systemImage: "shippingbox")
            } description: {
                Text("Run make ios-demo in the checkout, then build the app again.")
            }
        } else {
            List(problems) { problem in
                Section {
                    FailureView(failure: problem.failure)
                } header: {
                    Text(verbatim: problem.id)
                }
            }
        }
    }
}

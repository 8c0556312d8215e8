import EvimCore
import SwiftUI

/// Whether this device computes what Linux computed for the same images.
struct ParityView: View {
    let model: BundledModel
    @State private var session = ParitySession()

    var body: some View {
        NavigationStack {
            List {
                Section {
                    ModelPicker()
                    LabeledContent("Weights", value: model.manifest.weights.source)
                } footer: {
                    Text("Images and answers were computed by PyTorch on Linux when the model was exported.")
                }
                if let failure = session.failure {
                    FailureView(failure: failure)
                }
                ForEach(session.checks) { check in
                    ParitySection(check: check)
                }
                if session.isRunning {
                    ProgressView("Computing")
                } else if session.golden == nil, session.failure == nil {
                    Text("The model has no golden file. Run make ios-demo, then build the app again.")
                }
                if let golden = session.golden { ControlSection(golden: golden) }
            }
            .navigationTitle("Parity")
            .untrainedWarning(for: model)
        }
        .task(id: model) { [session, model] in await session.run(model) }
    }
}

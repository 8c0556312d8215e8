import EvimCore
import SwiftUI

/// What the model is, where its weights come from, and the versions.
struct AboutView: View {
    let model: BundledModel
    @Environment(AppModel.self) private var app

    var body: some View {
        let manifest = model.manifest
        NavigationStack {
            List {
                Section("Model") {
                    ModelPicker()
                    LabeledContent("Name", value: model.title)
                    LabeledContent("File", value: model.package.lastPathComponent)
                    LabeledContent("Image", value: "\(manifest.resolution.width) × \(manifest.resolution.height)")
                    LabeledContent("Precision", value: manifest.precision)
                    if let classes = manifest.numClasses {
                        LabeledContent("Classes", value: classes.formatted())
                    }
                }
                Section("Weights") {
                    LabeledContent("Source", value: manifest.weights.source)
                    Text(verbatim: manifest.weights.note)
                    Text(verbatim: manifest.weights.sha256).font(.footnote).monospacedDigit()
                }
                Section("Versions") {
                    LabeledContent("App", value: AppVersion.text)
                    LabeledContent("System", value: ProcessInfo.processInfo.operatingSystemVersionString)
                    LabeledContent("Schema of manifests", value: manifest.schemaVersion.formatted())
                    LabeledContent("Schema of results", value: Results.schemaVersion.formatted())
                }
                ForEach(app.library.problems) { problem in
                    FailureView(failure: problem.failure)
                }
            }
            .navigationTitle("About")
            .untrainedWarning(for: model)
        }
    }
}

import SwiftUI

/// The tabs.
struct RootView: View {
    @Environment(AppModel.self) private var app

    var body: some View {
        if let model = app.selected {
            TabView {
                ClassifyView(model: model)
                    .tabItem { Label("Classify", systemImage: "camera.viewfinder") }
                BenchmarkView(model: model)
                    .tabItem { Label("Benchmark", systemImage: "stopwatch") }
                ParityView(model: model)
                    .tabItem { Label("Parity", systemImage: "equal.circle") }
                AboutView(model: model)
                    .tabItem { Label("About", systemImage: "info.circle") }
            }
        } else {
            NoModelsView(problems: app.library.problems)
        }
    }
}

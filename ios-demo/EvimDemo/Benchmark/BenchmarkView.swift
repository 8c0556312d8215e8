import EvimCore
import SwiftUI

/// Measures the model, and lists what was measured before.
struct BenchmarkView: View {
    let model: BundledModel
    @State private var session = BenchmarkSession()
    @State private var store = ResultsStore()
    @State private var setup = BenchmarkSetup()
    @State private var failure: Failure?
    @Environment(\.scenePhase) private var scenePhase

    var body: some View {
        NavigationStack {
            List {
                if session.isRunning {
                    BenchmarkProgressView(progress: session.progress) { session.stop() }
                } else {
                    Section {
                        ModelPicker()
                    }
                    BenchmarkSetupView(setup: $setup, start: start)
                }
                if let failure {
                    Section {
                        FailureView(failure: failure)
                    }
                }
                ResultsList(store: store)
                    .disabled(session.isRunning)
            }
            .navigationTitle("Benchmark")
            .untrainedWarning(for: model)
        }
        .toolbar(session.isRunning ? .hidden : .visible, for: .tabBar)
        .task { await store.reload() }
        .onChange(of: scenePhase) { _, phase in
            if phase == .background { session.stop() }
        }
    }

    private func start() {
        failure = nil
        Task {
            do {
                let results = try await session.run(setup.request(), of: model)
                try store.save(results, of: model)
            } catch {
                failure = Failure(error)
            }
            await store.reload()
        }
    }
}

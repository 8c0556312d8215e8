import EvimCore
import Foundation
import SwiftUI

/// What a benchmark that runs by itself shows; the app ends with it.
struct AutomaticBenchmarkView: View {
    @State private var benchmark: AutomaticBenchmark
    @Environment(\.scenePhase) private var scenePhase

    init(library: ModelLibrary, plan: LaunchArguments) {
        _benchmark = State(initialValue: AutomaticBenchmark(library: library, plan: plan))
    }

    var body: some View {
        List {
            BenchmarkProgressView(progress: benchmark.session.progress) { benchmark.session.stop() }
            Section("Results") {
                ForEach(benchmark.written, id: \.self) { name in
                    Text(verbatim: name)
                }
            }
        }
        .task { [benchmark] in exit(await benchmark.run()) }
        .onChange(of: scenePhase) { _, phase in
            if phase == .background { benchmark.session.stop() }
        }
    }
}

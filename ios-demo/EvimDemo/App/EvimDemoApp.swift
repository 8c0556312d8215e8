import EvimCore
import SwiftUI

/// The app: its tabs, or a benchmark without any touch when it is launched with `--benchmark`.
@main
struct EvimDemoApp: App {
    @State private var model = AppModel()
    private let launch = Launch(arguments: ProcessInfo.processInfo.arguments)

    var body: some Scene {
        WindowGroup {
            switch launch {
            case .tabs: RootView().environment(model)
            case .benchmark(let plan): AutomaticBenchmarkView(library: model.library, plan: plan)
            case .refused(let failure): RefusedLaunchView(failure: failure)
            }
        }
    }
}

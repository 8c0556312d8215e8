import EvimCore
import SwiftUI

extension BenchmarkMode {
    /// The mode as a person calls it.
    var title: LocalizedStringResource {
        switch name {
        case BenchmarkMode.paper.name: LocalizedStringResource("Paper")
        case BenchmarkMode.modelbench.name: LocalizedStringResource("ModelBench")
        default: LocalizedStringResource("Sustained")
        }
    }

    /// What it does, and how long that takes.
    var explanation: LocalizedStringResource {
        switch name {
        case BenchmarkMode.paper.name:
            LocalizedStringResource(
                """
                Ten seconds of warm-up, then a minute of predictions, as the paper's scripts do. \
                It takes 70 seconds for each of the compute units.
                """
            )
        case BenchmarkMode.modelbench.name:
            LocalizedStringResource(
                """
                20 rounds of 50 predictions, the model loaded anew for each round, as Apple's ModelBench does. \
                It takes some minutes, most of them for loading.
                """
            )
        default:
            LocalizedStringResource(
                """
                Predictions without a pause, to see what heat does. \
                It takes five minutes for each of the compute units.
                """
            )
        }
    }
}

import EvimCore
import SwiftUI

extension ComputeUnits {
    /// The units as a person calls them.
    var title: LocalizedStringResource {
        switch self {
        case .all: LocalizedStringResource("All units")
        case .cpuOnly: LocalizedStringResource("CPU")
        case .cpuAndGPU: LocalizedStringResource("CPU and GPU")
        case .cpuAndNeuralEngine: LocalizedStringResource("CPU and Neural Engine")
        }
    }
}

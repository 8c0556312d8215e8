import EvimCore
import SwiftUI

extension ThermalState {
    /// The state in a word.
    var title: LocalizedStringResource {
        switch self {
        case .nominal: LocalizedStringResource("Nominal")
        case .fair: LocalizedStringResource("Fair")
        case .serious: LocalizedStringResource("Serious")
        case .critical: LocalizedStringResource("Critical")
        }
    }

    /// A symbol that tells the states apart without their colours.
    var icon: Image {
        switch self {
        case .nominal: Image(systemName: "thermometer.low")
        case .fair: Image(systemName: "thermometer.medium")
        case .serious: Image(systemName: "thermometer.high")
        case .critical: Image(systemName: "flame")
        }
    }
}

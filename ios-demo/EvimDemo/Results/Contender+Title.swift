import EvimCore
import Foundation

extension Results.Contender {
    /// Its compute units, and whether it is the control.
    var title: String {
        let units = mode.flatMap(ComputeUnits.init).map { String(localized: $0.title) } ?? mode ?? engine
        return role == .control ? String(localized: "\(units), control") : units
    }
}

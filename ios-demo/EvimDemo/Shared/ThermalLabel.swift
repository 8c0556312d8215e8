import EvimCore
import SwiftUI

/// A thermal state as a word and a symbol.
struct ThermalLabel: View {
    let state: ThermalState

    var body: some View {
        Label {
            Text(state.title)
        } icon: {
            state.icon.foregroundStyle(state.isHot ? Color.red : Color.secondary)
        }
    }
}

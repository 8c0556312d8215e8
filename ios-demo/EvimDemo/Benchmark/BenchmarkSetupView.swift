import EvimCore
import SwiftUI

/// Chooses the mode and the compute units.
struct BenchmarkSetupView: View {
    @Binding var setup: BenchmarkSetup
    let start: @MainActor () -> Void

    var body: some View {
        Section {
            Picker("Mode", selection: $setup.mode) {
                ForEach(BenchmarkMode.all) { mode in
                    Text(mode.title).tag(mode.name)
                }
            }
        } footer: {
            if let mode = BenchmarkMode.all.first(where: { $0.name == setup.mode }) {
                Text(mode.explanation)
            }
        }
        Section("Compute units") {
            ForEach(ComputeUnits.allCases, id: \.self) { units in
                Toggle(isOn: $setup[isChosen: units]) { Text(units.title) }
            }
        }
        Section {
            Button("Start") { start() }
                .disabled(setup.units.isEmpty)
        } footer: {
            Text("The screen stays awake. The benchmark stops, and keeps what it has, when you leave the app.")
        }
    }
}

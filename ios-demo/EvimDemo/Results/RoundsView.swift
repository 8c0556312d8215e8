import EvimCore
import SwiftUI

/// The device's thermal state at the beginning of each round, in the order in which they were measured.
struct RoundsView: View {
    let results: Results

    var body: some View {
        List(TimedRound.all(of: results)) { round in
            LabeledContent {
                if let thermal = round.thermal { ThermalLabel(state: thermal) }
            } label: {
                let number = round.number.formatted()
                Text(verbatim: round.title)
                Text("Round \(number)")
            }
            .accessibilityElement(children: .combine)
        }
        .navigationTitle("Thermal state by round")
    }
}

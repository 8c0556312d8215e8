import EvimCore
import SwiftUI

/// How far a benchmark is, drawn anew once a second at most and without samples, so as to disturb little.
struct BenchmarkProgressView: View {
    let progress: BenchmarkProgress?
    let stop: @MainActor () -> Void

    var body: some View {
        Section("Measuring") {
            if let progress {
                bar(progress)
                LabeledContent("Compute units") { Text(progress.units.title) }
                LabeledContent("Thermal state") { ThermalLabel(state: progress.thermal) }
            } else {
                ProgressView("Loading the model")
            }
            Button("Stop", role: .destructive) { stop() }
        }
    }

    private func bar(_ progress: BenchmarkProgress) -> some View {
        ProgressView(value: min(max(progress.fraction, 0), 1)) {
            if progress.round == 0 {
                Text("Loading, checking and warming up")
            } else {
                let (round, rounds) = (progress.round.formatted(), progress.rounds.formatted())
                Text("Round \(round) of \(rounds)")
            }
        }
    }
}

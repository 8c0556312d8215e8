import EvimCore
import SwiftUI

/// The figures of one choice of compute units, and how far they can be believed.
struct ContenderSection: View {
    let contender: Results.Contender
    let judgement: Judgement?
    let mode: String

    var body: some View {
        Section {
            if let judgement {
                JudgementView(judgement: judgement)
                if let summary = judgement.summary { figures(summary) }
            }
        } header: {
            Text(verbatim: contender.title)
        }
    }

    @ViewBuilder
    private func figures(_ summary: Summary) -> some View {
        let steady = Steady(of: contender, summary: summary, mode: mode)
        LabeledContent {
            Text(verbatim: Format.milliseconds(steady.seconds)).font(.headline).monospacedDigit()
        } label: {
            Text(steady.title).font(.headline)
        }
        if let cold = contender.coldStart {
            LabeledContent("Cold load", value: Format.milliseconds(cold.loadSeconds))
            LabeledContent("First prediction", value: Format.milliseconds(cold.firstPredictionSeconds))
        }
        LabeledContent("Median, p50", value: Format.milliseconds(summary.median))
        LabeledContent("p90", value: Format.milliseconds(summary.p90))
        LabeledContent("p99", value: Format.milliseconds(summary.p99))
        LabeledContent("Minimum", value: Format.milliseconds(summary.minimum))
        LabeledContent("Samples", value: summary.count.formatted())
        LabeledContent("Outliers", value: summary.outliers.count.formatted())
    }
}

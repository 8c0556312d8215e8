import Charts
import EvimCore
import SwiftUI

/// The samples in order, a line for each choice of compute units: what drifts, jumps or heats up is seen here.
struct SamplesChart: View {
    let results: Results

    var body: some View {
        VStack(alignment: .leading) {
            Chart(SampleBucket.all(of: results)) { bucket in
                AreaMark(
                    x: .value("Prediction", bucket.place), yStart: .value("Fastest", bucket.fastest),
                    yEnd: .value("Slowest", bucket.slowest)
                )
                .foregroundStyle(by: .value("Compute units", bucket.series))
                .opacity(0.25)
                .accessibilityHidden(true)
                LineMark(x: .value("Prediction", bucket.place), y: .value("Median", bucket.median))
                    .foregroundStyle(by: .value("Compute units", bucket.series))
                    .lineStyle(by: .value("Compute units", bucket.series))
                    .accessibilityLabel(Text(verbatim: bucket.series))
                    .accessibilityValue(Text(verbatim: Format.milliseconds(bucket.median / 1000)))
            }
            .chartXAxisLabel("Prediction")
            .chartYAxisLabel("Milliseconds")
            .aspectRatio(1.2, contentMode: .fit)
            .accessibilityLabel("Chart of the samples in order")
            Text("The lines are medians of neighbouring predictions, the bands reach from the fastest to the slowest.")
                .font(.caption)
                .foregroundStyle(.secondary)
        }
    }
}

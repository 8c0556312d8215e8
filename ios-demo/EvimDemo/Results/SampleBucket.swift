import EvimCore

/// Some predictions after one another, as one point of a chart; a minute has more predictions than a screen has pixels.
struct SampleBucket: Identifiable {
    /// The contender's title.
    let series: String
    /// Place of the first of its predictions, from 1.
    let place: Int
    /// Of its predictions, milliseconds.
    let fastest: Double
    let median: Double
    let slowest: Double

    var id: String { "\(series), \(place)" }

    /// At most so many buckets of each contender.
    private static let most = 150

    /// The buckets of all contenders, each in order.
    static func all(of results: Results) -> [SampleBucket] {
        results.contenders.flatMap(of)
    }

    private static func of(_ contender: Results.Contender) -> [SampleBucket] {
        let samples = contender.samples
        let size = max(1, (samples.count + most - 1) / most)
        return stride(from: 0, to: samples.count, by: size).compactMap { start in
            let part = Array(samples[start..<min(start + size, samples.count)])
            guard let fastest = part.min(), let slowest = part.max(), let median = Statistics.percentile(50, of: part)
            else { return nil }
            return SampleBucket(
                series: contender.title, place: start + 1,
                fastest: fastest * 1000, median: median * 1000, slowest: slowest * 1000)
        }
    }
}

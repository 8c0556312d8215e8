/// Samples in a few numbers, in their own unit; `latency/statistics.py` has the same.
public struct Summary: Equatable, Sendable {
    /// How many samples there are.
    public let count: Int
    /// Their mean.
    public let mean: Double
    /// Their median.
    public let median: Double
    /// The smallest.
    public let minimum: Double
    /// What nine of ten do not exceed.
    public let p90: Double
    /// What 99 of 100 do not exceed.
    public let p99: Double
    /// Their standard deviation, with one degree of freedom less than samples; 0 of a single one.
    public let deviation: Double
    /// Where the samples stand that lie more than 3.5 robust deviations above the median (Iglewicz and Hoaglin's
    /// modified z-score); they are counted in everything else.
    public let outliers: [Int]

    /// The samples in a few numbers.
    ///
    /// - Throws: ``EvimError/usage(_:)`` if there are none.
    public init(_ samples: [Double]) throws(EvimError) {
        guard !samples.isEmpty else { throw .usage("There are no samples to summarise.") }
        self.init(nonEmpty: samples)
    }

    init(nonEmpty samples: [Double]) {
        let ordered = samples.sorted()
        count = samples.count
        mean = Statistics.mean(samples)
        median = Statistics.median(ofOrdered: ordered)
        minimum = ordered[0]
        p90 = Statistics.percentile(90, ofOrdered: ordered)
        p99 = Statistics.percentile(99, ofOrdered: ordered)
        deviation = Statistics.deviation(samples, around: mean)
        outliers = Summary.outliers(of: samples, around: median)
    }

    /// Median of the absolute deviations of a normal distribution of deviation 1.
    private static let normalMedian = 0.6744897501960817
    private static let outlier = 3.5

    private static func outliers(of samples: [Double], around median: Double) -> [Int] {
        let spread = Statistics.median(ofOrdered: samples.map { abs($0 - median) }.sorted()) / normalMedian
        guard spread > 0 else { return [] }
        return samples.indices.filter { samples[$0] - median > outlier * spread }
    }
}

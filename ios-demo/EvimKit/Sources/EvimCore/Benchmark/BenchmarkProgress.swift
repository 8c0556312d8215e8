/// How far a benchmark is.
public struct BenchmarkProgress: Sendable {
    /// Share of the timing that is done, 0 to 1.
    public let fraction: Double
    /// Id of the contender, as the results file will have it.
    public let contender: String
    /// Compute units of the contender.
    public let units: ComputeUnits
    /// Round, from 1; 0 while the contender is loaded, checked and warmed up.
    public let round: Int
    /// Rounds asked for.
    public let rounds: Int
    /// As the device told it last.
    public let thermal: ThermalState
    /// The contender's samples so far, in order, seconds.
    public let samples: [Double]
}

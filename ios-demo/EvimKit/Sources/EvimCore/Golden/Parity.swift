/// How far a model's outputs on this device are from those that Linux computed, and whether that is near enough.
///
/// Errors are in units of the range of the expected output, its greatest minus its least value, of the image in which
/// that is largest; probabilities are compared as the logits that they stand for (`evim_deploy/artifact/parity.py`).
public struct Parity: Equatable, Sendable {
    /// Whether a model may be used.
    public enum Status: String, Codable, Equatable, Sendable {
        /// As near as was allowed, and a model with disturbed weights is not.
        case pass
        /// Farther than was allowed.
        case fail
        /// As near as was allowed, but so is a model with disturbed weights: a pass would mean nothing.
        case cannotFail
    }

    /// What the comparison says.
    public let status: Status
    /// Largest absolute error, of the output's range; infinite where a value is not finite.
    public let maxAbs: Double
    /// Mean absolute error, of the output's range; infinite likewise.
    public let meanAbs: Double
    /// Share of images whose likeliest class is the same, 0 to 1; nil for features.
    public let top1: Double?
    /// Image with the largest error.
    public let worstCase: String
    /// Output with the largest error.
    public let worstOutput: String
    /// What was allowed.
    public let tolerance: Golden.Tolerance

    /// States what a comparison found.
    public init(
        status: Status, maxAbs: Double, meanAbs: Double, top1: Double?, worstCase: String, worstOutput: String,
        tolerance: Golden.Tolerance
    ) {
        self.status = status
        self.maxAbs = maxAbs
        self.meanAbs = meanAbs
        self.top1 = top1
        self.worstCase = worstCase
        self.worstOutput = worstOutput
        self.tolerance = tolerance
    }
}

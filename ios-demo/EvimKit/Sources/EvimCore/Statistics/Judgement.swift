/// How far a contender's figures can be believed.
public struct Judgement: Equatable, Sendable {
    /// How far.
    public enum Status: String, Codable, Sendable {
        /// Nothing was noticed that may have bent them.
        case valid
        /// They stand, and something may have bent them.
        case suspect
        /// They tell nothing.
        case invalid
        /// There are none.
        case notMeasured = "not measured"
    }

    /// How far.
    public let status: Status
    /// Why they are not valid, in words.
    public let reasons: [String]
    /// Of the seconds that one prediction of the batch took; nil without samples.
    public let summary: Summary?
}

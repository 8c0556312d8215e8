extension Results {
    /// Whether a contender computes what its model does.
    public struct Check: Equatable, Sendable {
        /// What was found.
        public enum Status: String, Codable, Sendable {
            /// It does.
            case equal
            /// It does not.
            case different
            /// There was nothing to find it out with.
            case notChecked = "not checked"
        }

        /// What was found.
        public let status: Status
        /// What it was compared with, or why it was not, or how it differs.
        public let against: String
        /// Largest difference of an output, as a share of the output's magnitude or range.
        public let error: Double?
        /// What the error may come to.
        public let tolerance: Double?
    }

    /// From a file to an answer.
    public struct ColdStart: Equatable, Sendable {
        /// The model, from its file to memory, seconds.
        public let loadSeconds: Double
        /// The first prediction, seconds.
        public let firstPredictionSeconds: Double
    }
}

extension Results.Check: Codable {
    enum CodingKeys: String, CodingKey {
        case status, against, error, tolerance
    }

    /// Reads a check, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        status = try values.decode(Status.self, forKey: .status)
        against = try values.decode(String.self, forKey: .against)
        error = try values.decodeIfPresent(forKey: .error, atLeast: 0)
        tolerance = try values.decodeIfPresent(forKey: .tolerance, atLeast: 0)
    }
}

extension Results.ColdStart: Codable {
    enum CodingKeys: String, CodingKey {
        case loadSeconds = "load_s"
        case firstPredictionSeconds = "first_prediction_s"
    }

    /// Reads a cold start, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        loadSeconds = try values.decode(forKey: .loadSeconds, atLeast: 0)
        firstPredictionSeconds = try values.decode(forKey: .firstPredictionSeconds, atLeast: 0)
    }
}

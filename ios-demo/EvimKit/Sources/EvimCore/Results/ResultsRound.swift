extension Results {
    /// Predictions one after another; round r of all contenders of a group were taken next to each other.
    public struct Round: Equatable, Sendable {
        /// From 0.
        public let index: Int
        /// Seconds since the run began.
        public let startedSeconds: Double
        /// Seconds that each prediction of a batch took, in order; at least one, each above 0.
        public let samples: [Double]
    }

    /// One operation in an engine's own profile.
    public struct Share: Equatable, Sendable {
        /// As the engine calls it.
        public let operation: String
        /// One of the classes that breakdowns are drawn by.
        public let operationClass: String
        /// In one prediction.
        public let seconds: Double
        /// In one prediction.
        public let calls: Int
    }
}

extension Results.Round: Codable {
    enum CodingKeys: String, CodingKey {
        case index
        case startedSeconds = "started_s"
        case samples = "samples_s"
    }

    /// Reads a round, and refuses one without samples, or with a sample that took no time.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        index = try values.decode(Int.self, forKey: .index)
        startedSeconds = try values.decode(forKey: .startedSeconds, atLeast: 0)
        samples = try values.decode([Double].self, forKey: .samples)
        try values.require(!samples.isEmpty, forKey: .samples, "there are none")
        try values.require(samples.allSatisfy { $0 > 0 }, forKey: .samples, "a prediction took no time")
    }
}

extension Results.Share: Codable {
    enum CodingKeys: String, CodingKey {
        case operation, seconds, calls
        case operationClass = "operation_class"
    }

    /// Reads an operation, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        operation = try values.decode(String.self, forKey: .operation)
        operationClass = try values.decode(String.self, forKey: .operationClass)
        seconds = try values.decode(forKey: .seconds, atLeast: 0)
        calls = try values.decode(Int.self, forKey: .calls)
    }
}

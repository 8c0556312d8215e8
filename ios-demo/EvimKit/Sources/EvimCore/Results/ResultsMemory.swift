extension Results {
    /// Memory of the process, or of the GPU.
    public struct Memory: Equatable, Sendable {
        /// Whose memory it is.
        public enum Owner: String, Codable, Sendable {
            /// The process's.
            case process
            /// The GPU's.
            case accelerator
        }

        /// Most that was held while predicting.
        public let peakBytes: Int
        /// What was held before the model was loaded.
        public let beforeBytes: Int
        /// Whose memory it is; `of` in the file.
        public let owner: Owner
    }

    /// One batch that was tried.
    public struct Attempt: Equatable, Sendable {
        /// What came of it.
        public enum Outcome: String, Codable, Sendable {
            /// There was memory enough.
            case fits
            /// There was not.
            case outOfMemory = "out of memory"
        }

        /// Images in a prediction.
        public let batch: Int
        /// What came of it.
        public let outcome: Outcome
        /// Memory that the process was allowed, where it was limited.
        public let limitBytes: Int?
        /// Most that it held, where it could still tell.
        public let peakBytes: Int?
    }
}

extension Results.Memory: Codable {
    enum CodingKeys: String, CodingKey {
        case peakBytes = "peak_bytes"
        case beforeBytes = "before_bytes"
        case owner = "of"
    }

    /// Reads a memory, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        peakBytes = try values.decode(Int.self, forKey: .peakBytes)
        beforeBytes = try values.decode(Int.self, forKey: .beforeBytes)
        owner = try values.decode(Owner.self, forKey: .owner)
    }
}

extension Results.Attempt: Codable {
    enum CodingKeys: String, CodingKey {
        case batch, outcome
        case limitBytes = "limit_bytes"
        case peakBytes = "peak_bytes"
    }

    /// Reads an attempt, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        batch = try values.decode(forKey: .batch, atLeast: 1)
        outcome = try values.decode(Outcome.self, forKey: .outcome)
        limitBytes = try values.decodeIfPresent(Int.self, forKey: .limitBytes)
        peakBytes = try values.decodeIfPresent(Int.self, forKey: .peakBytes)
    }
}

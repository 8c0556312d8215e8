extension Results {
    /// What is timed.
    public struct Subject: Equatable, Sendable {
        /// What kind of thing it is.
        public enum Kind: String, Codable, Sendable {
            /// One of EfficientViM.
            case model
            /// A network from timm.
            case peer
            /// A file.
            case artifact
            /// A mixer alone.
            case mixer
            /// The fixed work that tells how fast the machine is.
            case yardstick
        }

        /// What kind of thing it is.
        public let kind: Kind
        /// As tables call it.
        public let name: String
        /// The name in timm, or the file.
        public let source: String
        /// Where they come from; untrained ones are called so.
        public let weights: String
        /// What was done to it for inference.
        public let form: String
        /// Weights that it has as it is timed.
        public let parameters: Int?
        /// The row in the paper's tables that it stands beside.
        public let paper: String?
    }
}

extension Results.Subject: Codable {
    enum CodingKeys: String, CodingKey {
        case kind, name, source, weights, form, parameters, paper
    }

    /// Reads a subject, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        kind = try values.decode(Kind.self, forKey: .kind)
        name = try values.decode(String.self, forKey: .name)
        source = try values.decode(String.self, forKey: .source)
        weights = try values.decode(String.self, forKey: .weights)
        form = try values.decode(String.self, forKey: .form)
        parameters = try values.decodeIfPresent(Int.self, forKey: .parameters)
        paper = try values.decodeIfPresent(String.self, forKey: .paper)
    }
}

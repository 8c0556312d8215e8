extension Manifest {
    /// Size of a model's images, pixels; in JSON a list of the height and the width.
    public struct Resolution: Codable, Equatable, Sendable {
        /// Rows, at least 1.
        public let height: Int
        /// Columns, at least 1.
        public let width: Int

        /// Reads `[H, W]`.
        ///
        /// - Throws: `DecodingError`, also for `"dynamic"`: Core ML is given models of one size.
        public init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            let sides = try container.decode([Int].self)
            guard sides.count == 2, let least = sides.min(), least >= 1 else {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(sides) is no size")
            }
            (height, width) = (sides[0], sides[1])
        }

        /// Writes `[H, W]`.
        public func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encode([height, width])
        }
    }

    /// Where a model's weights come from.
    public struct Weights: Codable, Equatable, Sendable {
        /// A path, `hf:REPO/FILE`, `timm:NAME` or `random:SEED`.
        public let source: String
        /// False for seeded weights: what such a model predicts means nothing.
        public let trained: Bool
        /// Of the file, or for seeded weights of the values (hex).
        public let sha256: String
        /// Why these weights, for people; may be empty.
        public let note: String
    }

    /// One function of a package that has several.
    public struct Function: Codable, Equatable, Sendable {
        /// By which Core ML selects it, `size_384x384`.
        public let name: String
        /// Size of the images that it takes, pixels.
        public let resolution: Resolution
    }

    /// One input or output.
    public struct Port: Codable, Equatable, Sendable {
        /// As the model calls it.
        public let name: String
        /// Type of its elements: `float32`, `float16`, `image`, `string` or `dictionary`.
        public let dtype: String
        /// Length of each axis; empty for a scalar.
        public let shape: [Int]
        /// What the axes are: `NCHW`, `RGB`.
        public let layout: String
        /// Least and greatest value; nil where there are no bounds.
        public let range: [Double]?

        /// What it takes or gives, for people: `float32 of 1x3x256x256`.
        var words: String {
            shape.isEmpty ? dtype : "\(dtype) of \(shape.map(String.init).joined(separator: "x"))"
        }
    }
}

/// How a network is evaluated: which pixels of a photograph it is shown (`evim_deploy/images/preprocessing.py`).
public struct Preprocessing: Codable, Equatable, Sendable {
    /// How an image becomes one of the network's shape.
    public enum CropMode: String, Codable, CaseIterable, Sendable {
        /// The image keeps its ratio, covers the size that is cut from, and its centre is taken.
        case center
        /// Each side is resized on its own.
        case squash
        /// The image keeps its ratio and lies within the size that is cut from; the border has the mean's colour.
        case border
    }

    /// Of red, green and blue, in units of 255; it is subtracted inside the model.
    public let mean: [Double]
    /// Of the resized image's sides, the share that is cut out; above 1 a border is added.
    public let cropFraction: Double
    /// Pillow's name of the filter. Core Graphics has its own instead.
    public let interpolation: String
    /// How an image becomes one of the network's shape.
    public let cropMode: CropMode

    /// EfficientViM's, as the paper evaluates it.
    public static let paper = Preprocessing(
        mean: [0.485, 0.456, 0.406], cropFraction: 0.875, interpolation: "bicubic", cropMode: .center)

    private static let channels = 3
    private static let largestFraction = 4.0

    enum CodingKeys: String, CodingKey {
        case mean, interpolation
        case cropFraction = "crop_fraction"
        case cropMode = "crop_mode"
    }

    /// Describes an evaluation; `mean` is of red, green and blue.
    public init(mean: [Double], cropFraction: Double, interpolation: String, cropMode: CropMode) {
        (self.mean, self.cropFraction) = (mean, cropFraction)
        (self.interpolation, self.cropMode) = (interpolation, cropMode)
    }

    /// Reads what a manifest says; one that says no crop mode means the centre.
    ///
    /// - Throws: `DecodingError`.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        mean = try values.decode([Double].self, forKey: .mean)
        try values.require(mean.count == Self.channels, forKey: .mean, "\(mean) is not of RGB")
        cropFraction = try values.decode(Double.self, forKey: .cropFraction)
        let isShare = cropFraction > 0 && cropFraction <= Self.largestFraction
        try values.require(isShare, forKey: .cropFraction, "\(cropFraction) is no crop fraction")
        interpolation = try values.decode(String.self, forKey: .interpolation)
        cropMode = try values.decodeIfPresent(CropMode.self, forKey: .cropMode) ?? .center
    }

    /// Red, green and blue of what lies around the image, 0-255: the mean's colour in a border, else black.
    public var fill: [UInt8] {
        cropMode == .border
            ? mean.map { UInt8(min(255, max(0, (255 * $0).rounded(.toNearestOrEven)))) }
            : [UInt8](repeating: 0, count: Self.channels)
    }
}

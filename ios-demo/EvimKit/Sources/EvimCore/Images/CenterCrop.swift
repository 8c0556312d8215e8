import Foundation

/// Which pixels of a photograph a model is shown, as the paper evaluates.
///
/// The image is scaled so that it covers the model's size / 0.875, then the centre is cut out: the same pixels as
/// `evim_deploy/preprocessing.py` takes, whose rounding is repeated here to the letter.
public struct CenterCrop: Equatable, Sendable {
    /// Width of the whole image after scaling, pixels.
    public let resizedWidth: Int
    /// Height of the whole image after scaling, pixels.
    public let resizedHeight: Int
    /// Columns of the scaled image to the left of what is cut out.
    public let left: Int
    /// Rows of the scaled image above what is cut out.
    public let top: Int
    /// Width of what is cut out, pixels: the model's.
    public let width: Int
    /// Height of what is cut out, pixels: the model's.
    public let height: Int

    private static let fraction = 0.875
    private static let mostResizedPixels = 200_000_000.0

    /// Finds the crop of an image for a model.
    ///
    /// - Parameters:
    ///   - imageWidth: Of the upright image, pixels.
    ///   - imageHeight: Of the upright image, pixels.
    ///   - toWidth: Of the model's input, pixels.
    ///   - toHeight: Of the model's input, pixels.
    /// - Throws: `EvimError.emptyImage` where a side of the image or of the input is below 1;
    ///   `EvimError.imageTooNarrow` where the scaled image would fill the memory.
    public init(imageWidth: Int, imageHeight: Int, toWidth: Int, toHeight: Int) throws(EvimError) {
        for (width, height) in [(imageWidth, imageHeight), (toWidth, toHeight)] where min(width, height) < 1 {
            throw .emptyImage(width: width, height: height)
        }
        // Rounded down, as timm evaluates: 292 for 256.
        let scale = max(
            (Double(toHeight) / Self.fraction).rounded(.down) / Double(imageHeight),
            (Double(toWidth) / Self.fraction).rounded(.down) / Double(imageWidth))
        let scaledWidth = max(Double(toWidth), Self.round(Double(imageWidth) * scale))
        let scaledHeight = max(Double(toHeight), Self.round(Double(imageHeight) * scale))
        // In floating point, because an absurd size would overflow an integer.
        guard scaledWidth * scaledHeight <= Self.mostResizedPixels else {
            throw .imageTooNarrow(width: imageWidth, height: imageHeight)
        }
        resizedWidth = Int(scaledWidth)
        resizedHeight = Int(scaledHeight)
        width = toWidth
        height = toHeight
        left = Int(Self.round(Double(resizedWidth - toWidth) / 2))
        top = Int(Self.round(Double(resizedHeight - toHeight) / 2))
    }

    /// Halves go to the even neighbour, as in Python; Swift's own `rounded()` takes them away from zero.
    private static func round(_ value: Double) -> Double { value.rounded(.toNearestOrEven) }
}

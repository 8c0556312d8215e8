import Foundation

/// Which pixels of a photograph a model is shown, as its network is evaluated.
///
/// The image is scaled for the model's size / crop fraction, then the centre is cut out: the same rows and columns as
/// torchvision's and timm's transforms take. `evim_deploy/images/preprocessing.py` has the same arithmetic.
public struct CenterCrop: Equatable, Sendable {
    /// Width of the whole image after scaling, pixels.
    public let resizedWidth: Int
    /// Height of the whole image after scaling, pixels.
    public let resizedHeight: Int
    /// Columns of the scaled image to the left of what is cut out; negative where there is a border instead.
    public let left: Int
    /// Rows of the scaled image above what is cut out; negative where there is a border instead.
    public let top: Int
    /// Width of what is cut out, pixels: the model's.
    public let width: Int
    /// Height of what is cut out, pixels: the model's.
    public let height: Int

    private static let mostResizedPixels = 200_000_000.0

    /// Finds the crop of an image for a model.
    ///
    /// - Parameters:
    ///   - imageWidth: Of the upright image, pixels.
    ///   - imageHeight: Of the upright image, pixels.
    ///   - toWidth: Of the model's input, pixels.
    ///   - toHeight: Of the model's input, pixels.
    ///   - preprocessing: How the model's network is evaluated.
    /// - Throws: `EvimError.emptyImage` where a side of the image or of the input is below 1;
    ///   `EvimError.imageTooNarrow` where the scaled image would fill the memory, or have no pixels.
    public init(
        imageWidth: Int, imageHeight: Int, toWidth: Int, toHeight: Int, as preprocessing: Preprocessing = .paper
    ) throws(EvimError) {
        for (width, height) in [(imageWidth, imageHeight), (toWidth, toHeight)] where min(width, height) < 1 {
            throw .emptyImage(width: width, height: height)
        }
        // Rounded down, as timm evaluates: 292 for 256.
        let whole = [toWidth, toHeight].map { (Double($0) / preprocessing.cropFraction).rounded(.down) }
        let image = [imageWidth, imageHeight]
        let resized = Self.resized(image, whole: whole, preprocessing.cropMode)
        // In floating point, because an absurd size would overflow an integer.
        guard resized[0] >= 1, resized[1] >= 1, resized[0] * resized[1] <= Self.mostResizedPixels else {
            throw .imageTooNarrow(width: imageWidth, height: imageHeight)
        }
        (resizedWidth, resizedHeight) = (Int(resized[0]), Int(resized[1]))
        (width, height) = (toWidth, toHeight)
        left = Self.offset(resizedWidth, toWidth)
        top = Self.offset(resizedHeight, toHeight)
    }

    /// Both sides of the scaled image, whole numbers.
    private static func resized(_ image: [Int], whole: [Double], _ mode: Preprocessing.CropMode) -> [Double] {
        let ratios = zip(image, whole).map { Double($0) / $1 }
        return switch mode {
        case .squash: whole
        case .border: scaled(image, max(ratios[0], ratios[1]))
        case .center where whole[0] != whole[1]: scaled(image, min(ratios[0], ratios[1]))
        case .center: covering(image, whole[0])
        }
    }

    /// Halves go to the even neighbour, as in Python.
    private static func scaled(_ image: [Int], _ ratio: Double) -> [Double] {
        image.map { (Double($0) / ratio).rounded(.toNearestOrEven) }
    }

    /// The short side is the one given; the long one is rounded down, in integers where floating point is not exact.
    private static func covering(_ image: [Int], _ side: Double) -> [Double] {
        let short = min(image[0], image[1])
        return image.map { length in
            let product = side * Double(length)
            guard product / Double(short) <= mostResizedPixels else { return .infinity }
            let (high, low) = Int(side).multipliedFullWidth(by: length)
            return Double(short.dividingFullWidth((high, low)).quotient)
        }
    }

    /// Half of what is cut off, the even number of two; or less half of the border, the smaller part of which is first.
    private static func offset(_ resized: Int, _ side: Int) -> Int {
        resized >= side ? Int((Double(resized - side) / 2).rounded(.toNearestOrEven)) : -((side - resized) / 2)
    }
}

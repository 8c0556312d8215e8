import CoreGraphics
import Foundation
import ImageIO

/// A photo as a model takes it: upright, opaque, RGB or grey, of its own size.
struct Photo {
    let image: CGImage

    /// Decodes a file that Image I/O reads: JPEG, HEIC, PNG and more.
    ///
    /// A camera stores how the phone was held beside the pixels, and a model knows nothing of it; so the pixels
    /// are turned. Transparent pixels are put on white, as a browser shows them.
    ///
    /// - Throws: `PhotoError`.
    init(decoding data: Data) throws(PhotoError) {
        let options: [CFString: Any] = [
            kCGImageSourceCreateThumbnailFromImageAlways: true,
            kCGImageSourceCreateThumbnailWithTransform: true,
        ]
        guard let source = CGImageSourceCreateWithData(data as CFData, nil),
            let upright = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary)
        else { throw .unreadable }
        image = try Self.isPlain(upright) ? upright : Self.onWhite(upright)
    }

    private static func isPlain(_ image: CGImage) -> Bool {
        let isOpaque = [.none, .noneSkipFirst, .noneSkipLast].contains(image.alphaInfo)
        return isOpaque && [.rgb, .monochrome].contains(image.colorSpace?.model)
    }

    private static func onWhite(_ image: CGImage) throws(PhotoError) -> CGImage {
        let frame = CGRect(x: 0, y: 0, width: image.width, height: image.height)
        guard let sRGB = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: nil, width: image.width, height: image.height, bitsPerComponent: 8, bytesPerRow: 0,
                space: sRGB, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { throw .tooLarge }
        context.setFillColor(red: 1, green: 1, blue: 1, alpha: 1)
        context.fill(frame)
        context.draw(image, in: frame)
        guard let flat = context.makeImage() else { throw .tooLarge }
        return flat
    }
}

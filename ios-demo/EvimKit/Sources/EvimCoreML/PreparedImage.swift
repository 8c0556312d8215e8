#if canImport(CoreML)
    import CoreGraphics
    import EvimCore

    /// An image as a model takes it: what its network is evaluated on, in sRGB, of the model's size.
    ///
    /// Plain bytes, so that they may go from a camera's queue to the model.
    public struct PreparedImage: Equatable, Sendable {
        /// Columns of pixels.
        public let width: Int
        /// Rows of pixels.
        public let height: Int
        /// Blue, green, red and a byte that means nothing for each pixel, (H, W, 4), from the top left.
        let bgra: [UInt8]

        static let bytesPerPixel = 4
        private static let opaque: UInt8 = 255

        /// What a network is evaluated on of an image, scaled and cut as ``EvimCore/CenterCrop`` says.
        ///
        /// Rows and columns are exactly those of the published evaluation. Core Graphics scales with its own filter, and
        /// decodes and converts colours in its own way, so a pixel may differ a little from Pillow's.
        ///
        /// - Throws: `EvimError.emptyImage`, `EvimError.transparentImage`, `EvimError.unsupportedColorSpace`,
        ///   `EvimError.imageTooNarrow`.
        init(
            cropping image: CGImage, width: Int, height: Int, as preprocessing: Preprocessing = .paper
        ) throws(EvimError) {
            try ImageTraits(image).check()
            let crop = try CenterCrop(
                imageWidth: image.width, imageHeight: image.height, toWidth: width, toHeight: height, as: preprocessing)
            let pixel = preprocessing.fill.reversed() + [Self.opaque]
            var bytes = (0..<width * height).flatMap { _ in pixel }
            let quality: CGInterpolationQuality = preprocessing.interpolation == "nearest" ? .none : .high
            let isDrawn = bytes.withUnsafeMutableBytes { Self.draw(image, crop, quality, into: $0) }
            guard isDrawn else { throw .damaged(what: "The image", why: "Core Graphics does not draw it") }
            self.init(width: width, height: height, bgra: bytes)
        }

        /// Pixels that are what the model takes already, byte for byte: no scaling and no colour management.
        ///
        /// - Parameters:
        ///   - rgb: Red, green and blue, (H, W, 3).
        ///   - width: Columns of pixels.
        ///   - height: Rows of pixels.
        /// - Throws: `EvimError.damaged` where there are more or fewer.
        init(rgb: [UInt8], width: Int, height: Int) throws(EvimError) {
            let (pixels, channels) = (width * height, 3)
            guard rgb.count == pixels * channels else {
                throw .damaged(what: "The image", why: "it has \(rgb.count) bytes instead of \(pixels * channels)")
            }
            var bytes = [UInt8](repeating: Self.opaque, count: pixels * Self.bytesPerPixel)
            for pixel in 0..<pixels {
                for channel in 0..<channels {
                    bytes[pixel * Self.bytesPerPixel + channels - 1 - channel] = rgb[pixel * channels + channel]
                }
            }
            self.init(width: width, height: height, bgra: bytes)
        }

        private init(width: Int, height: Int, bgra: [UInt8]) {
            (self.width, self.height, self.bgra) = (width, height, bgra)
        }

        private static func draw(
            _ image: CGImage, _ crop: CenterCrop, _ quality: CGInterpolationQuality,
            into bytes: UnsafeMutableRawBufferPointer
        ) -> Bool {
            let layout = CGBitmapInfo.byteOrder32Little.rawValue | CGImageAlphaInfo.noneSkipFirst.rawValue
            guard let sRGB = CGColorSpace(name: CGColorSpace.sRGB),
                let context = CGContext(
                    data: bytes.baseAddress, width: crop.width, height: crop.height, bitsPerComponent: 8,
                    bytesPerRow: crop.width * bytesPerPixel, space: sRGB, bitmapInfo: layout)
            else { return false }
            context.interpolationQuality = quality
            // a context counts its rows from below
            let bottom = crop.resizedHeight - crop.top - crop.height
            let whole = CGRect(x: -crop.left, y: -bottom, width: crop.resizedWidth, height: crop.resizedHeight)
            context.draw(image, in: whole)
            return true
        }
    }
#endif

#if canImport(CoreML)
    import CoreGraphics
    import EvimCore

    extension ImageTraits {
        /// What is known of an image.
        ///
        /// An image that could say how transparent its pixels are, but whose pixels are all opaque, as a screenshot's,
        /// counts as one without alpha.
        init(_ image: CGImage) {
            self.init(
                width: image.width, height: image.height, hasAlpha: image.hasTransparentPixels,
                colorModel: image.colorModel)
        }
    }

    extension CGImage {
        fileprivate var colorModel: ImageTraits.ColorModel {
            guard let space = colorSpace else { return .other("of a mask") }
            switch space.model == .indexed ? space.baseColorSpace?.model : space.model {
            case .rgb: return .rgb
            case .monochrome: return .monochrome
            default: return .other(space.name.map { $0 as String } ?? "of the kind \(space.model.rawValue)")
            }
        }

        fileprivate var hasTransparentPixels: Bool {
            switch alphaInfo {
            case .none, .noneSkipFirst, .noneSkipLast: false
            default: !isOpaque
            }
        }

        /// Whether each pixel's alpha is 255, looked up at the image's own size.
        private var isOpaque: Bool {
            var alpha = [UInt8](repeating: 0, count: width * height)
            let isDrawn = alpha.withUnsafeMutableBytes { bytes in
                guard
                    let context = CGContext(
                        data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: width,
                        space: CGColorSpaceCreateDeviceGray(), bitmapInfo: CGImageAlphaInfo.alphaOnly.rawValue)
                else { return false }
                context.interpolationQuality = .none
                context.draw(self, in: CGRect(x: 0, y: 0, width: width, height: height))
                return true
            }
            return isDrawn && alpha.allSatisfy { $0 == .max }
        }
    }
#endif

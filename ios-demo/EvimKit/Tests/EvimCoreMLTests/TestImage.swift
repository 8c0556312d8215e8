#if canImport(CoreML)
    import CoreGraphics
    import Testing

    /// Images that are drawn for a test.
    enum TestImage {
        /// An image in sRGB, its left half red and its right half blue.
        static func opaque(width: Int, height: Int) throws -> CGImage {
            try drawn(width: width, height: height, alpha: .noneSkipLast) { context in
                fill(context, width: width, height: height)
            }
        }

        /// The same in a format that has alpha, in which nothing is transparent.
        static func opaqueWithAlpha(width: Int, height: Int) throws -> CGImage {
            try drawn(width: width, height: height, alpha: .premultipliedLast) { context in
                fill(context, width: width, height: height)
            }
        }

        /// The same with one transparent pixel, in a corner.
        static func transparent(width: Int, height: Int) throws -> CGImage {
            try drawn(width: width, height: height, alpha: .premultipliedLast) { context in
                fill(context, width: width, height: height)
                context.clear(CGRect(x: 0, y: 0, width: 1, height: 1))
            }
        }

        private static func fill(_ context: CGContext, width: Int, height: Int) {
            context.setFillColor(red: 1, green: 0, blue: 0, alpha: 1)
            context.fill(CGRect(x: 0, y: 0, width: width / 2, height: height))
            context.setFillColor(red: 0, green: 0, blue: 1, alpha: 1)
            context.fill(CGRect(x: width / 2, y: 0, width: width - width / 2, height: height))
        }

        private static func drawn(
            width: Int, height: Int, alpha: CGImageAlphaInfo, _ draw: (CGContext) -> Void
        ) throws -> CGImage {
            let space = try #require(CGColorSpace(name: CGColorSpace.sRGB))
            let context = try #require(
                CGContext(
                    data: nil, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 0, space: space,
                    bitmapInfo: alpha.rawValue))
            draw(context)
            return try #require(context.makeImage())
        }
    }
#endif

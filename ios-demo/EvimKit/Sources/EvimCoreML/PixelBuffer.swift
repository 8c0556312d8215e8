#if canImport(CoreML)
    import CoreGraphics
    import CoreVideo
    import EvimCore
    import Foundation
    import VideoToolbox

    extension PreparedImage {
        /// The centre of a camera's frame in any format that VideoToolbox converts.
        ///
        /// - Throws: As for an image; `EvimError.unsupportedColorSpace` where the format cannot be converted.
        init(
            cropping buffer: CVPixelBuffer, width: Int, height: Int, as preprocessing: Preprocessing = .paper
        ) throws(EvimError) {
            var image: CGImage?
            let status = VTCreateCGImageFromCVPixelBuffer(buffer, options: nil, imageOut: &image)
            guard status == noErr, let image else {
                let format = CVPixelBufferGetPixelFormatType(buffer)
                throw .unsupportedColorSpace(name: "of the pixel format \(format), VideoToolbox error \(status)")
            }
            try self.init(cropping: image, width: width, height: height, as: preprocessing)
        }

        /// The same pixels where Core ML takes them from: 32BGRA in memory that the hardware can reach.
        ///
        /// - Throws: `EvimError.modelRefused` where there is no memory for it.
        func makePixelBuffer() throws(EvimError) -> CVPixelBuffer {
            var made: CVPixelBuffer?
            let attributes = [kCVPixelBufferIOSurfacePropertiesKey as String: [String: Any]()] as CFDictionary
            let status = CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, attributes, &made)
            guard status == kCVReturnSuccess, let buffer = made else {
                throw .modelRefused(name: "an image", why: "Core Video gives no buffer for it, error \(status).")
            }
            CVPixelBufferLockBaseAddress(buffer, [])
            defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
            let (stride, row) = (CVPixelBufferGetBytesPerRow(buffer), width * Self.bytesPerPixel)
            bgra.withUnsafeBytes { source in
                guard let from = source.baseAddress, let to = CVPixelBufferGetBaseAddress(buffer) else { return }
                for index in 0..<height {  // a row of the buffer may be longer than the image's
                    (to + index * stride).copyMemory(from: from + index * row, byteCount: row)
                }
            }
            return buffer
        }
    }
#endif

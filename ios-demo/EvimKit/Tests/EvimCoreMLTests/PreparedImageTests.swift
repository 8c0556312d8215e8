#if canImport(CoreML)
    import CoreGraphics
    import CoreVideo
    import EvimCore
    import Foundation
    import Testing

    @testable import EvimCoreML

    /// What needs Apple's frameworks, but no model.
    struct PreparedImageTests {
        private static let red: [UInt8] = [0, 0, 255]  // blue first
        private static let blue: [UInt8] = [255, 0, 0]

        @Test func cropKeepsThePlaces() throws {
            // 512 / 0.875 rounded down is 585, so nothing is scaled
            let image = try PreparedImage(cropping: TestImage.opaque(width: 585, height: 585), width: 512, height: 512)

            #expect(color(of: image, x: 0, y: 0) == Self.red)
            #expect(color(of: image, x: 100, y: 511) == Self.red)
            #expect(color(of: image, x: 511, y: 0) == Self.blue)
            #expect(color(of: image, x: 400, y: 511) == Self.blue)
        }

        @Test func scalesToTheModelsSize() throws {
            let image = try PreparedImage(cropping: TestImage.opaque(width: 1000, height: 80), width: 64, height: 32)

            #expect((image.width, image.height) == (64, 32))
            #expect(color(of: image, x: 0, y: 0) == Self.red)
            #expect(color(of: image, x: 63, y: 31) == Self.blue)
        }

        @Test func aBorderHasTheMeansColor() throws {
            let border = Preprocessing(mean: [1, 0.5, 0], cropFraction: 1, interpolation: "bicubic", cropMode: .border)
            let wide = try TestImage.opaque(width: 80, height: 40)
            let image = try PreparedImage(cropping: wide, width: 32, height: 32, as: border)

            #expect(color(of: image, x: 16, y: 2) == [0, 128, 255])
            #expect(color(of: image, x: 16, y: 30) == [0, 128, 255])
            #expect(color(of: image, x: 2, y: 16) == Self.red)
        }

        @Test func alphaCountsOnlyWhereItShows() throws {
            let opaque = try TestImage.opaqueWithAlpha(width: 40, height: 40)
            #expect(try PreparedImage(cropping: opaque, width: 32, height: 32).width == 32)

            let transparent = try TestImage.transparent(width: 40, height: 40)
            #expect(throws: EvimError.transparentImage) {
                try PreparedImage(cropping: transparent, width: 32, height: 32)
            }
        }

        @Test func bytesReachTheBufferAsTheyAre() throws {
            let (width, height) = (3, 2)  // no hardware likes rows of 12 bytes, so the buffer's are padded
            let rgb = (0..<UInt8(width * height * 3)).map { $0 }
            let buffer = try PreparedImage(rgb: rgb, width: width, height: height).makePixelBuffer()

            CVPixelBufferLockBaseAddress(buffer, .readOnly)
            defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
            let base = try #require(CVPixelBufferGetBaseAddress(buffer))
            for y in 0..<height {
                let row = base + y * CVPixelBufferGetBytesPerRow(buffer)
                let bytes = (0..<width * 4).map { row.load(fromByteOffset: $0, as: UInt8.self) }
                for x in 0..<width {
                    let first = UInt8((y * width + x) * 3)
                    #expect(Array(bytes[x * 4..<x * 4 + 4]) == [first + 2, first + 1, first, 255])
                }
            }
        }

        @Test func wrongNumberOfBytesIsRefused() throws {
            #expect(throws: EvimError.self) { try PreparedImage(rgb: [1, 2, 3], width: 2, height: 2) }
        }

        @Test(arguments: [kCVPixelFormatType_32BGRA, kCVPixelFormatType_420YpCbCr8BiPlanarFullRange])
        func takesACamerasFrame(format: OSType) throws {
            var made: CVPixelBuffer?
            let attributes = [kCVPixelBufferIOSurfacePropertiesKey as String: [String: Any]()] as CFDictionary
            CVPixelBufferCreate(nil, 320, 240, format, attributes, &made)
            let buffer = try #require(made)
            fill(buffer, with: 255)

            let image = try PreparedImage(cropping: buffer, width: 64, height: 64)

            #expect((image.width, image.height, image.bgra.count) == (64, 64, 64 * 64 * 4))
        }

        private func fill(_ buffer: CVPixelBuffer, with byte: UInt8) {
            CVPixelBufferLockBaseAddress(buffer, [])
            defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
            for plane in 0..<max(1, CVPixelBufferGetPlaneCount(buffer)) {
                let isPlanar = CVPixelBufferGetPlaneCount(buffer) > 0
                let base =
                    isPlanar ? CVPixelBufferGetBaseAddressOfPlane(buffer, plane) : CVPixelBufferGetBaseAddress(buffer)
                let size =
                    isPlanar
                    ? CVPixelBufferGetBytesPerRowOfPlane(buffer, plane) * CVPixelBufferGetHeightOfPlane(buffer, plane)
                    : CVPixelBufferGetBytesPerRow(buffer) * CVPixelBufferGetHeight(buffer)
                base?.initializeMemory(as: UInt8.self, repeating: byte, count: size)
            }
        }

        private func color(of image: PreparedImage, x: Int, y: Int) -> [UInt8] {
            let first = (y * image.width + x) * PreparedImage.bytesPerPixel
            return Array(image.bgra[first..<first + 3])
        }
    }
#endif

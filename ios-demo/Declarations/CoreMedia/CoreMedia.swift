// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

@_exported import CoreVideo

/// A frame of a camera, and when it was taken. Apple's headers say of it that it is not Sendable.
public final class CMSampleBuffer {
    public var imageBuffer: CVImageBuffer? { fatalError("a declaration") }
}

@available(*, unavailable)
extension CMSampleBuffer: Sendable {}

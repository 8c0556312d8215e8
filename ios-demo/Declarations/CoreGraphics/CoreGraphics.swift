// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// What these mean is said in Apple's own documentation.
// CGFloat, CGPoint, CGSize and CGRect are in Foundation on Linux.

@_exported import AppleFoundation

/// An image.
public final class CGImage: @unchecked Sendable {
    public var width: Int { fatalError("a declaration") }
    public var height: Int { fatalError("a declaration") }
    public var alphaInfo: CGImageAlphaInfo { fatalError("a declaration") }
    public var colorSpace: CGColorSpace? { fatalError("a declaration") }
}

/// Where a pixel's alpha is.
public enum CGImageAlphaInfo: UInt32, Sendable {
    case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast, noneSkipFirst, alphaOnly
}

/// The layout of a bitmap.
public struct CGBitmapInfo: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { fatalError("a declaration") }
    public static var byteOrder32Little: CGBitmapInfo { fatalError("a declaration") }
}

/// What the values of a colour mean.
public final class CGColorSpace: @unchecked Sendable {
    public init?(name: CFString) { fatalError("a declaration") }
    public static let sRGB: CFString = ""
    public var name: CFString? { fatalError("a declaration") }
    public var model: CGColorSpaceModel { fatalError("a declaration") }
    public var baseColorSpace: CGColorSpace? { fatalError("a declaration") }
}

/// The kind of a colour space.
public enum CGColorSpaceModel: Int32, Sendable {
    case unknown = -1
    case monochrome, rgb, cmyk, lab, deviceN, indexed, pattern, XYZ
}

public func CGColorSpaceCreateDeviceGray() -> CGColorSpace { fatalError("a declaration") }

/// How an image is scaled.
public enum CGInterpolationQuality: Int32, Sendable {
    case `default`, none, low, medium, high
}

/// A place to draw.
public final class CGContext {
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) { fatalError("a declaration") }
    public var interpolationQuality: CGInterpolationQuality {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    public func draw(_ image: CGImage, in rect: CGRect, byTiling: Bool = false) { fatalError("a declaration") }
    public func setFillColor(red: CGFloat, green: CGFloat, blue: CGFloat, alpha: CGFloat) {
        fatalError("a declaration")
    }
    public func fill(_ rect: CGRect) { fatalError("a declaration") }
    public func clear(_ rect: CGRect) { fatalError("a declaration") }
    public func makeImage() -> CGImage? { fatalError("a declaration") }
}

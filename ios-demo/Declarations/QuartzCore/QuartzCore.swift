// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

@_exported import CoreGraphics

/// A layer.
open class CALayer {
    public init() { fatalError("a declaration") }
    open var frame: CGRect {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    open func addSublayer(_ layer: CALayer) { fatalError("a declaration") }
}

// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// What these mean is said in Apple's own documentation.

/// A GPU.
public protocol MTLDevice: AnyObject, Sendable {
    var name: String { get }
}

public func MTLCreateSystemDefaultDevice() -> (any MTLDevice)? { fatalError("a declaration") }

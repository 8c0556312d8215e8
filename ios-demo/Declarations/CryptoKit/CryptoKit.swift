// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// What these mean is said in Apple's own documentation.

import Foundation

/// Computes a digest of 256 bits, a piece at a time.
public struct SHA256: Sendable {
    public init() { fatalError("a declaration") }
    public mutating func update<D: DataProtocol>(data: D) { fatalError("a declaration") }
    public func finalize() -> SHA256Digest { fatalError("a declaration") }
}

/// A digest, a sequence of bytes.
public struct SHA256Digest: Sequence, Sendable {
    public func makeIterator() -> Array<UInt8>.Iterator { fatalError("a declaration") }
}

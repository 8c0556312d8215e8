// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// What these mean is said in Apple's own documentation.
// What Foundation on Apple's systems has and Foundation on Linux has not.
//
// Core Foundation's types are toll-free bridged there; here they are the Swift types themselves, so that `as` compiles.

@_exported import Foundation

/// Toll-free bridged to `String`.
public typealias CFString = String
/// Toll-free bridged to `Dictionary`.
public typealias CFDictionary = [String: Any]
/// Gives out memory.
public final class CFAllocator {}
/// Outcome of a C function.
public typealias OSStatus = Int32
/// Success.
public let noErr: OSStatus = 0

/// Runs a closure, then releases what it autoreleased.
@discardableResult
public func autoreleasepool<Result>(invoking body: () throws -> Result) rethrows -> Result {
    fatalError("a declaration")
}

extension ProcessInfo {
    /// How hot the device is.
    public enum ThermalState: Int, Sendable {
        case nominal, fair, serious, critical
    }

    /// How hot the device is.
    public var thermalState: ThermalState { fatalError("a declaration") }
    /// Whether the user has switched low power mode on.
    public var isLowPowerModeEnabled: Bool { fatalError("a declaration") }
}

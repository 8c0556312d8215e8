// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

// Foundation on Linux has none of these; on Apple's systems it has.

@_exported import CoreGraphics
@_exported import Observation
@_exported import UIKit

extension String {
    /// A key of a string catalogue and its arguments.
    public struct LocalizationValue: ExpressibleByStringInterpolation, Sendable {
        public init(stringLiteral value: String) { fatalError("a declaration") }
        public init(stringInterpolation: StringInterpolation) { fatalError("a declaration") }
        /// Its pieces. Apple's take any type; here strings alone, so that a key's specifier is always `%@`.
        public struct StringInterpolation: StringInterpolationProtocol {
            public init(literalCapacity: Int, interpolationCount: Int) { fatalError("a declaration") }
            public mutating func appendLiteral(_ literal: String) { fatalError("a declaration") }
            public mutating func appendInterpolation(_ string: String) { fatalError("a declaration") }
        }
    }

    public init(
        localized keyAndValue: String.LocalizationValue, table: String? = nil, bundle: Bundle? = nil,
        locale: Locale = .current, comment: StaticString? = nil
    ) {
        fatalError("a declaration")
    }

    public init(localized resource: LocalizedStringResource) { fatalError("a declaration") }
}

/// A string that is looked up when it is shown.
public struct LocalizedStringResource: Equatable, Sendable {
    public init(
        _ keyAndValue: String.LocalizationValue, table: String? = nil, locale: Locale = .current,
        comment: StaticString? = nil
    ) {
        fatalError("a declaration")
    }
    public static func == (lhs: LocalizedStringResource, rhs: LocalizedStringResource) -> Bool {
        fatalError("a declaration")
    }
}

/// A key of a string catalogue and its arguments.
public struct LocalizedStringKey: Equatable, ExpressibleByStringInterpolation {
    public init(_ value: String) { fatalError("a declaration") }
    public init(stringLiteral value: String) { fatalError("a declaration") }
    public init(stringInterpolation: StringInterpolation) { fatalError("a declaration") }
    /// Its pieces.
    public typealias StringInterpolation = String.LocalizationValue.StringInterpolation
}

extension URL {
    public static var documentsDirectory: URL { fatalError("a declaration") }
    public static var temporaryDirectory: URL { fatalError("a declaration") }
}

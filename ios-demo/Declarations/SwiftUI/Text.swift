// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

/// Text.
@frozen public struct Text: Equatable, Sendable, View {
    nonisolated public init(verbatim content: String) { fatalError("a declaration") }
    @_disfavoredOverload
    nonisolated public init<S>(_ content: S) where S: StringProtocol { fatalError("a declaration") }
    nonisolated public init(
        _ key: LocalizedStringKey, tableName: String? = nil, bundle: Bundle? = nil, comment: StaticString? = nil
    ) {
        fatalError("a declaration")
    }
    nonisolated public init(_ resource: LocalizedStringResource) { fatalError("a declaration") }
    nonisolated public func font(_ font: Font?) -> Text { fatalError("a declaration") }
    nonisolated public func monospacedDigit() -> Text { fatalError("a declaration") }
    public var body: Never { fatalError("a declaration") }
}

/// A font; the app takes those that follow the reader's size alone.
public struct Font: Hashable, Sendable {
    public static var headline: Font { fatalError("a declaration") }
    public static var callout: Font { fatalError("a declaration") }
    public static var footnote: Font { fatalError("a declaration") }
    public static var caption: Font { fatalError("a declaration") }
}

/// A title and a symbol.
@MainActor @preconcurrency
public struct Label<Title, Icon>: View where Title: View, Icon: View {
    nonisolated public init(@ViewBuilder title: () -> Title, @ViewBuilder icon: () -> Icon) {
        fatalError("a declaration")
    }
    public var body: Never { fatalError("a declaration") }
}

extension Label where Title == Text, Icon == Image {
    nonisolated public init(_ titleKey: LocalizedStringKey, systemImage name: String) { fatalError("a declaration") }
}

/// A picture.
@frozen public struct Image: Equatable, Sendable, View {
    nonisolated public init(systemName: String) { fatalError("a declaration") }
    nonisolated public init(uiImage: UIImage) { fatalError("a declaration") }
    nonisolated public func resizable() -> Image { fatalError("a declaration") }
    public var body: Never { fatalError("a declaration") }
}

/// A colour.
@frozen public struct Color: Hashable, Sendable, ShapeStyle, View {
    public static let red = Color()
    public static let orange = Color()
    public static let yellow = Color()
    public static let green = Color()
    public static let primary = Color()
    public static let secondary = Color()
    nonisolated init() { fatalError("a declaration") }
    nonisolated public func opacity(_ opacity: Double) -> Color { fatalError("a declaration") }
    public var body: Never { fatalError("a declaration") }
}

/// What fills a shape.
public protocol ShapeStyle: Sendable {}

/// A style that the surroundings set.
@frozen public struct HierarchicalShapeStyle: ShapeStyle {
    public static let primary = HierarchicalShapeStyle()
    public static let secondary = HierarchicalShapeStyle()
    nonisolated init() { fatalError("a declaration") }
}

/// The colour behind.
@frozen public struct BackgroundStyle: ShapeStyle {
    nonisolated public init() { fatalError("a declaration") }
}

extension ShapeStyle where Self == Color {
    public static var red: Color { fatalError("a declaration") }
    public static var orange: Color { fatalError("a declaration") }
    public static var yellow: Color { fatalError("a declaration") }
    public static var green: Color { fatalError("a declaration") }
}

extension ShapeStyle where Self == HierarchicalShapeStyle {
    public static var primary: HierarchicalShapeStyle { fatalError("a declaration") }
    public static var secondary: HierarchicalShapeStyle { fatalError("a declaration") }
}

extension ShapeStyle where Self == BackgroundStyle {
    public static var background: BackgroundStyle { fatalError("a declaration") }
}

/// A shape.
public protocol Shape: Sendable, View {}

/// A rectangle with round corners.
@frozen public struct RoundedRectangle: Shape {
    nonisolated init() { fatalError("a declaration") }
    public var body: Never { fatalError("a declaration") }
}

extension Shape where Self == RoundedRectangle {
    nonisolated public static func rect(cornerRadius: CGFloat) -> RoundedRectangle { fatalError("a declaration") }
}

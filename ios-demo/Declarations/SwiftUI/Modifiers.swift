// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

/// An edge of a rectangle.
@frozen public enum Edge: Int8, CaseIterable, Sendable {
    case top, leading, bottom, trailing
    /// Edges.
    @frozen public struct Set: OptionSet, Sendable {
        public let rawValue: Int8
        public init(rawValue: Int8) { fatalError("a declaration") }
        public static let all = Set(rawValue: 15)
    }
}

/// An upper or lower edge.
@frozen public enum VerticalEdge: Int8, CaseIterable, Sendable { case top, bottom }

/// How an image takes up its place.
@frozen public enum ContentMode: Hashable, Sendable { case fit, fill }

/// How what is inside an element is told to VoiceOver.
public struct AccessibilityChildBehavior: Hashable, Sendable {
    public static let ignore = AccessibilityChildBehavior()
    public static let combine = AccessibilityChildBehavior()
    public static let contain = AccessibilityChildBehavior()
}

/// Where a toolbar's item is put.
public struct ToolbarItemPlacement: Sendable {
    public static let primaryAction = ToolbarItemPlacement()
}

/// What a toolbar shows.
@MainActor @preconcurrency
public protocol ToolbarContent {
    associatedtype Body: ToolbarContent
    @ToolbarContentBuilder var body: Self.Body { get }
}

extension Never: ToolbarContent {}

/// An item of a toolbar.
public struct ToolbarItem<ID, Content>: ToolbarContent where Content: View {
    public var body: Never { fatalError("a declaration") }
}

extension ToolbarItem where ID == () {
    nonisolated public init(placement: ToolbarItemPlacement, @ViewBuilder content: () -> Content) {
        fatalError("a declaration")
    }
}

/// Makes a toolbar of statements.
@resultBuilder
public struct ToolbarContentBuilder {
    public static func buildBlock<Content>(_ content: Content) -> Content where Content: ToolbarContent { content }
}

extension View {
    nonisolated public func accessibilityElement(children: AccessibilityChildBehavior) -> some View { EmptyView() }
    nonisolated public func accessibilityHidden(_ hidden: Bool) -> some View { EmptyView() }
    nonisolated public func accessibilityLabel(_ label: Text) -> some View { EmptyView() }
    nonisolated public func accessibilityLabel(_ labelKey: LocalizedStringKey) -> some View { EmptyView() }
    nonisolated public func accessibilityValue(_ value: Text) -> some View { EmptyView() }
    nonisolated public func accessibilityValue(_ valueKey: LocalizedStringKey) -> some View { EmptyView() }
    nonisolated public func aspectRatio(_ aspectRatio: CGFloat? = nil, contentMode: ContentMode) -> some View {
        EmptyView()
    }
    nonisolated public func background<S>(_ style: S, ignoresSafeAreaEdges edges: Edge.Set = .all) -> some View
    where S: ShapeStyle {
        EmptyView()
    }
    nonisolated public func clipShape<S>(_ shape: S) -> some View where S: Shape { EmptyView() }
    nonisolated public func disabled(_ disabled: Bool) -> some View { EmptyView() }
    nonisolated public func environment<T>(_ object: T?) -> some View where T: AnyObject, T: Observable { EmptyView() }
    nonisolated public func font(_ font: Font?) -> some View { EmptyView() }
    nonisolated public func foregroundStyle<S>(_ style: S) -> some View where S: ShapeStyle { EmptyView() }
    nonisolated public func frame(
        minWidth: CGFloat? = nil, idealWidth: CGFloat? = nil, maxWidth: CGFloat? = nil, minHeight: CGFloat? = nil,
        idealHeight: CGFloat? = nil, maxHeight: CGFloat? = nil, alignment: Alignment = .center
    ) -> some View {
        EmptyView()
    }
    nonisolated public func monospacedDigit() -> some View { EmptyView() }
    nonisolated public func navigationTitle(_ titleKey: LocalizedStringKey) -> some View { EmptyView() }
    nonisolated public func navigationTitle(_ title: Text) -> some View { EmptyView() }
    nonisolated public func onChange<V>(
        of value: V, initial: Bool = false, _ action: @escaping (_ oldValue: V, _ newValue: V) -> Void
    ) -> some View where V: Equatable {
        EmptyView()
    }
    nonisolated public func overlay<V>(
        alignment: Alignment = .center, @ViewBuilder content: () -> V
    ) -> some View where V: View {
        EmptyView()
    }
    nonisolated public func padding(_ edges: Edge.Set = .all, _ length: CGFloat? = nil) -> some View { EmptyView() }
    nonisolated public func pickerStyle<S>(_ style: S) -> some View where S: PickerStyle { EmptyView() }
    nonisolated public func safeAreaInset<V>(
        edge: VerticalEdge, alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil,
        @ViewBuilder content: () -> V
    ) -> some View where V: View {
        EmptyView()
    }
    nonisolated public func scaledToFill() -> some View { EmptyView() }
    nonisolated public func tabItem<V>(@ViewBuilder _ label: () -> V) -> some View where V: View { EmptyView() }
    nonisolated public func tag<V>(_ tag: V) -> some View where V: Hashable { EmptyView() }
    nonisolated public func task(
        priority: TaskPriority = .userInitiated, @_inheritActorContext _ action: @escaping @Sendable () async -> Void
    ) -> some View {
        EmptyView()
    }
    nonisolated public func task<T>(
        id value: T, priority: TaskPriority = .userInitiated,
        @_inheritActorContext _ action: @escaping @Sendable () async -> Void
    ) -> some View where T: Equatable {
        EmptyView()
    }
    nonisolated public func toolbar<Content>(
        @ToolbarContentBuilder content: () -> Content
    ) -> some View where Content: ToolbarContent {
        EmptyView()
    }
}

/// Whether something is seen.
@frozen public enum Visibility: Hashable, CaseIterable, Sendable { case automatic, visible, hidden }

/// A bar.
public struct ToolbarPlacement: Sendable {
    public static var tabBar: ToolbarPlacement { fatalError("a declaration") }
}

extension View {
    nonisolated public func toolbar(_ visibility: Visibility, for bars: ToolbarPlacement...) -> some View {
        EmptyView()
    }
}

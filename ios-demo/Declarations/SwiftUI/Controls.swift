// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

/// What a button is for.
public struct ButtonRole: Equatable, Sendable {
    public static let destructive = ButtonRole()
    public static let cancel = ButtonRole()
}

/// Does something.
@MainActor @preconcurrency
public struct Button<Label>: View where Label: View {
    @preconcurrency
    nonisolated public init(action: @escaping @MainActor () -> Void, @ViewBuilder label: () -> Label) {
        fatalError("a declaration")
    }
    public var body: Never { fatalError("a declaration") }
}

extension Button where Label == Text {
    @preconcurrency
    nonisolated public init(_ titleKey: LocalizedStringKey, action: @escaping @MainActor () -> Void) {
        fatalError("a declaration")
    }
    @preconcurrency
    nonisolated public init(
        _ titleKey: LocalizedStringKey, role: ButtonRole?, action: @escaping @MainActor () -> Void
    ) {
        fatalError("a declaration")
    }
}

/// Switches something on and off.
@MainActor @preconcurrency
public struct Toggle<Label>: View where Label: View {
    nonisolated public init(isOn: Binding<Bool>, @ViewBuilder label: () -> Label) { fatalError("a declaration") }
    public var body: Never { fatalError("a declaration") }
}

/// Chooses one of several.
@MainActor @preconcurrency
public struct Picker<Label, SelectionValue, Content>: View
where Label: View, SelectionValue: Hashable, Content: View {
    public var body: Never { fatalError("a declaration") }
}

extension Picker where Label == Text {
    nonisolated public init(
        _ titleKey: LocalizedStringKey, selection: Binding<SelectionValue>, @ViewBuilder content: () -> Content
    ) {
        fatalError("a declaration")
    }
}

/// How a picker looks.
@MainActor @preconcurrency
public protocol PickerStyle {}

/// Side by side.
@MainActor @preconcurrency
public struct SegmentedPickerStyle: PickerStyle {
    nonisolated init() { fatalError("a declaration") }
}

extension PickerStyle where Self == SegmentedPickerStyle {
    public static var segmented: SegmentedPickerStyle { fatalError("a declaration") }
}

/// How far something is.
@MainActor @preconcurrency
public struct ProgressView<Label, CurrentValueLabel>: View where Label: View, CurrentValueLabel: View {
    public var body: Never { fatalError("a declaration") }
}

extension ProgressView where CurrentValueLabel == EmptyView {
    nonisolated public init() where Label == EmptyView { fatalError("a declaration") }
    nonisolated public init(_ titleKey: LocalizedStringKey) where Label == Text { fatalError("a declaration") }
    nonisolated public init<V>(
        value: V?, total: V = 1.0, @ViewBuilder label: () -> Label
    ) where V: BinaryFloatingPoint {
        fatalError("a declaration")
    }
}

/// A value and what it is.
public struct LabeledContent<Label, Content> {}

extension LabeledContent: View where Label: View, Content: View {
    nonisolated public init(@ViewBuilder content: () -> Content, @ViewBuilder label: () -> Label) {
        fatalError("a declaration")
    }
    public var body: Never { fatalError("a declaration") }
}

extension LabeledContent where Label == Text, Content: View {
    nonisolated public init(_ titleKey: LocalizedStringKey, @ViewBuilder content: () -> Content) {
        fatalError("a declaration")
    }
}

extension LabeledContent where Label == Text, Content == Text {
    nonisolated public init<S>(_ titleKey: LocalizedStringKey, value: S) where S: StringProtocol {
        fatalError("a declaration")
    }
}

/// What can be shared.
public protocol Transferable {}

extension URL: Transferable {}
extension Data: Transferable {}

/// A share button's own label.
@MainActor @preconcurrency
public struct DefaultShareLinkLabel: View {
    public var body: Never { fatalError("a declaration") }
}

/// Shares something.
@MainActor @preconcurrency
public struct ShareLink<Data, PreviewImage, PreviewIcon, Label>: View
where
    Data: RandomAccessCollection, PreviewImage: Transferable, PreviewIcon: Transferable, Label: View,
    Data.Element: Transferable
{
    public var body: Never { fatalError("a declaration") }
}

extension Never: Transferable {}

extension ShareLink
where Data == CollectionOfOne<URL>, PreviewImage == Never, PreviewIcon == Never, Label == DefaultShareLinkLabel {
    nonisolated public init(item: URL, subject: Text? = nil, message: Text? = nil) { fatalError("a declaration") }
}

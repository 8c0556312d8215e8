// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

/// A piece of an interface.
@MainActor @preconcurrency
public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Self.Body { get }
}

extension Never: View {
    public var body: Never { fatalError("a declaration") }
}

extension Optional: View where Wrapped: View {
    public var body: Never { fatalError("a declaration") }
}

/// No view.
@frozen public struct EmptyView: View {
    nonisolated public init() { fatalError("a declaration") }
    public var body: Never { fatalError("a declaration") }
}

/// Views beside each other.
@frozen public struct TupleView<T>: View {
    nonisolated public init(_ value: T) { fatalError("a declaration") }
    public var body: Never { fatalError("a declaration") }
}

/// One of two views.
@frozen public struct _ConditionalContent<TrueContent, FalseContent> {}

extension _ConditionalContent: View where TrueContent: View, FalseContent: View {
    public var body: Never { fatalError("a declaration") }
}

/// A view that was changed by a modifier.
@MainActor @preconcurrency
public struct _Modified<Content: View>: View {
    public var body: Never { fatalError("a declaration") }
}

/// Makes views of statements.
@resultBuilder
public struct ViewBuilder {
    public static func buildExpression<Content>(_ content: Content) -> Content where Content: View { content }
    public static func buildBlock() -> EmptyView { fatalError("a declaration") }
    public static func buildBlock<Content>(_ content: Content) -> Content where Content: View { content }
    public static func buildBlock<each Content>(
        _ content: repeat each Content
    ) -> TupleView<(repeat each Content)> where repeat each Content: View {
        fatalError("a declaration")
    }
    public static func buildIf<Content>(_ content: Content?) -> Content? where Content: View { content }
    public static func buildEither<TrueContent, FalseContent>(
        first: TrueContent
    ) -> _ConditionalContent<TrueContent, FalseContent> where TrueContent: View, FalseContent: View {
        fatalError("a declaration")
    }
    public static func buildEither<TrueContent, FalseContent>(
        second: FalseContent
    ) -> _ConditionalContent<TrueContent, FalseContent> where TrueContent: View, FalseContent: View {
        fatalError("a declaration")
    }
}

/// A UIKit view.
@MainActor @preconcurrency
public protocol UIViewRepresentable: View where Body == Never {
    associatedtype UIViewType: UIView
    func makeUIView(context: Context) -> UIViewType
    func updateUIView(_ uiView: UIViewType, context: Context)
    typealias Context = UIViewRepresentableContext<Self>
}

extension UIViewRepresentable {
    public var body: Never { fatalError("a declaration") }
}

/// Where a UIKit view is shown.
@MainActor @preconcurrency
public struct UIViewRepresentableContext<Representable> where Representable: UIViewRepresentable {}

// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

import SwiftUI

/// What a chart shows.
@MainActor @preconcurrency
public protocol ChartContent {
    associatedtype Body: ChartContent
    var body: Self.Body { get }
}

extension Never: ChartContent {}

/// Makes marks of statements.
@resultBuilder
public struct ChartContentBuilder {
    public static func buildBlock<Content>(_ content: Content) -> Content where Content: ChartContent { content }
    public static func buildBlock<each Content>(
        _ content: repeat each Content
    ) -> BuilderTuple<(repeat each Content)> where repeat each Content: ChartContent {
        fatalError("a declaration")
    }
}

/// Marks beside each other.
@MainActor @preconcurrency
public struct BuilderTuple<T>: ChartContent {
    public var body: Never { fatalError("a declaration") }
}

extension ForEach: ChartContent where Content: ChartContent {
    public var body: Never { fatalError("a declaration") }
}

/// A value that can be drawn.
public protocol Plottable {}

extension Int: Plottable {}
extension Double: Plottable {}
extension String: Plottable {}

/// A value and its name.
public struct PlottableValue<Value> where Value: Plottable {
    public static func value(_ labelKey: LocalizedStringKey, _ value: Value) -> PlottableValue<Value> {
        fatalError("a declaration")
    }
}

/// A chart.
@MainActor @preconcurrency
public struct Chart<Content>: View where Content: ChartContent {
    nonisolated public init<Data, C>(
        _ data: Data, @ChartContentBuilder content: @escaping (Data.Element) -> C
    )
    where
        Content == ForEach<Data, Data.Element.ID, C>, Data: RandomAccessCollection, C: ChartContent,
        Data.Element: Identifiable
    {
        fatalError("a declaration")
    }
    public var body: Never { fatalError("a declaration") }
}

/// A line through points.
@MainActor @preconcurrency
public struct LineMark: ChartContent {
    nonisolated public init<X, Y>(x: PlottableValue<X>, y: PlottableValue<Y>) where X: Plottable, Y: Plottable {
        fatalError("a declaration")
    }
    public var body: Never { fatalError("a declaration") }
}

/// An area between two lines.
@MainActor @preconcurrency
public struct AreaMark: ChartContent {
    nonisolated public init<X, Y>(x: PlottableValue<X>, yStart: PlottableValue<Y>, yEnd: PlottableValue<Y>)
    where X: Plottable, Y: Plottable {
        fatalError("a declaration")
    }
    public var body: Never { fatalError("a declaration") }
}

/// Marks that were changed.
@MainActor @preconcurrency
public struct _ModifiedMark<Content>: ChartContent {
    nonisolated init() { fatalError("a declaration") }
    public var body: Never { fatalError("a declaration") }
}

extension ChartContent {
    nonisolated public func foregroundStyle<D>(by value: PlottableValue<D>) -> some ChartContent where D: Plottable {
        _ModifiedMark<Self>()
    }
    nonisolated public func lineStyle<D>(by value: PlottableValue<D>) -> some ChartContent where D: Plottable {
        _ModifiedMark<Self>()
    }
    nonisolated public func opacity(_ opacity: Double) -> some ChartContent { _ModifiedMark<Self>() }
    nonisolated public func accessibilityHidden(_ hidden: Bool) -> some ChartContent { _ModifiedMark<Self>() }
    nonisolated public func accessibilityLabel(_ label: Text) -> some ChartContent { _ModifiedMark<Self>() }
    nonisolated public func accessibilityValue(_ value: Text) -> some ChartContent { _ModifiedMark<Self>() }
}

extension View {
    nonisolated public func chartXAxisLabel(
        _ labelKey: LocalizedStringKey, alignment: Alignment? = nil, spacing: CGFloat? = nil
    ) -> some View {
        EmptyView()
    }
    nonisolated public func chartYAxisLabel(
        _ labelKey: LocalizedStringKey, alignment: Alignment? = nil, spacing: CGFloat? = nil
    ) -> some View {
        EmptyView()
    }
}

// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

/// What SwiftUI keeps up to date in a view.
public protocol DynamicProperty {}

/// A value that SwiftUI keeps for a view.
@frozen @propertyWrapper
public struct State<Value>: DynamicProperty {
    public init(wrappedValue value: Value) { fatalError("a declaration") }
    public var wrappedValue: Value {
        get { fatalError("a declaration") }
        nonmutating set { fatalError("a declaration") }
    }
    public var projectedValue: Binding<Value> { fatalError("a declaration") }
}

extension State: Sendable where Value: Sendable {}

/// Reads and writes a value that is kept elsewhere.
@frozen @propertyWrapper @dynamicMemberLookup
public struct Binding<Value> {
    @preconcurrency public init(
        get: @escaping @isolated(any) @Sendable () -> Value, set: @escaping @isolated(any) @Sendable (Value) -> Void
    ) {
        fatalError("a declaration")
    }
    public var wrappedValue: Value {
        get { fatalError("a declaration") }
        nonmutating set { fatalError("a declaration") }
    }
    public var projectedValue: Binding<Value> { fatalError("a declaration") }
    public subscript<Subject>(dynamicMember keyPath: WritableKeyPath<Value, Subject>) -> Binding<Subject> {
        fatalError("a declaration")
    }
}

extension Binding: @unchecked Sendable where Value: Sendable {}

extension State {
    public init(initialValue value: Value) { fatalError("a declaration") }
}

/// Makes bindings to an observable object's properties.
@dynamicMemberLookup @propertyWrapper
public struct Bindable<Value> {
    @available(*, unavailable, message: "The wrapped value must be an object that conforms to Observable")
    public init(wrappedValue: Value) { fatalError("a declaration") }
    public var wrappedValue: Value {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    public var projectedValue: Bindable<Value> { fatalError("a declaration") }
}

extension Bindable where Value: AnyObject {
    public subscript<Subject>(
        dynamicMember keyPath: ReferenceWritableKeyPath<Value, Subject>
    ) -> Binding<Subject> {
        fatalError("a declaration")
    }
}

extension Bindable where Value: AnyObject, Value: Observable {
    public init(wrappedValue: Value) { fatalError("a declaration") }
}

/// A value that a view has from those around it.
@frozen @propertyWrapper
public struct Environment<Value>: DynamicProperty {
    public init(_ keyPath: KeyPath<EnvironmentValues, Value>) { fatalError("a declaration") }
    public init(_ objectType: Value.Type) where Value: AnyObject, Value: Observable { fatalError("a declaration") }
    public var wrappedValue: Value { fatalError("a declaration") }
}

extension Environment: Sendable where Value: Sendable {}

/// What a view has from those around it.
public struct EnvironmentValues {
    public var scenePhase: ScenePhase { fatalError("a declaration") }
}

import Foundation

/// A value that several tasks may read and write, for fakes whose methods are not asynchronous.
///
/// `@unchecked Sendable` is safe: the value is only touched while the lock is held. The standard library's `Mutex`
/// needs a newer system than the package does.
final class Locked<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) {
        self.value = value
    }

    func callAsFunction<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        try lock.withLock { try body(&value) }
    }
}

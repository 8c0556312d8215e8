/// A clock that only goes forward, and that a test can stand in for.
public protocol MonotonicClock: Sendable {
    /// Seconds since a moment that stays the same.
    func now() -> Double

    /// Waits for so many seconds.
    ///
    /// - Throws: `CancellationError` if the task is cancelled meanwhile.
    func sleep(seconds: Double) async throws
}

/// The system's own clock, which also goes on while the device sleeps.
public struct SystemClock: MonotonicClock {
    private let origin: ContinuousClock.Instant

    /// A clock that is at 0 now, so that seconds keep their nanoseconds in a `Double`.
    public init() {
        origin = ContinuousClock.now
    }

    /// Seconds since the clock was made.
    public func now() -> Double {
        let (seconds, attoseconds) = (ContinuousClock.now - origin).components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }

    /// Waits for so many seconds.
    ///
    /// - Throws: `CancellationError` if the task is cancelled meanwhile.
    public func sleep(seconds: Double) async throws {
        try await Task.sleep(for: .seconds(seconds))
    }
}

extension Double {
    /// Seconds to the nanosecond: no clock here tells more, and a file of them stays small.
    var toNanoseconds: Double {
        (self * 1e9).rounded() / 1e9
    }
}

/// Predictions one after another: at least so many, and for at least so long.
public struct Burst: Equatable, Sendable {
    /// Fewest predictions.
    public let leastSamples: Int
    /// Least sum of their times, seconds.
    public let leastSeconds: Double

    /// A burst that ends when it has both.
    public init(leastSamples: Int, leastSeconds: Double = 0) {
        self.leastSamples = leastSamples
        self.leastSeconds = leastSeconds
    }

    /// The time that each prediction took, seconds to the nanosecond, in order.
    ///
    /// The one place where samples are taken. It ends early, with the samples that it has, when the task is
    /// cancelled.
    ///
    /// - Throws: ``EvimError/clockWentBackwards(seconds:)`` if a prediction took no time or less; and what
    ///   `predict` throws.
    public func time(by clock: any MonotonicClock, _ predict: () throws -> Void) throws -> [Double] {
        var samples: [Double] = []
        samples.reserveCapacity(leastSamples)
        var spent = 0.0
        while !Task.isCancelled, samples.count < leastSamples || spent < leastSeconds {
            let started = clock.now()
            try predict()
            let taken = (clock.now() - started).toNanoseconds
            guard taken > 0 else { throw EvimError.clockWentBackwards(seconds: taken) }
            samples.append(taken)
            spent += taken
        }
        return samples
    }
}

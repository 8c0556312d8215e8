/// Seconds since a run began, which never go back, whatever the clock does.
struct Timeline {
    private let clock: any MonotonicClock
    private let began: Double
    private var latest = 0.0

    init(clock: any MonotonicClock) {
        self.clock = clock
        began = clock.now()
    }

    /// Seconds since the run began, to the nanosecond.
    mutating func elapsed() -> Double {
        latest = max(latest, (clock.now() - began).toNanoseconds)
        return latest
    }
}

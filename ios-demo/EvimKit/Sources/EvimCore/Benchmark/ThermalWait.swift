import Foundation

/// Lets a hot device cool before it is timed.
struct ThermalWait: Sendable {
    /// The longest wait, seconds; MLPerf Mobile's.
    static let longest = 300.0
    /// Between two looks at the device, seconds.
    static let step = 5.0

    let device: any DeviceMonitor
    let clock: any MonotonicClock

    /// Waits while the device is serious or critical, and no longer than ``longest``.
    ///
    /// Time is counted in sleeps: a clock that stands still ends the wait all the same. A task that is cancelled
    /// waits no more.
    ///
    /// - Parameters:
    ///   - names: Of what is timed next, in words.
    ///   - look: Is told each state but the last.
    /// - Returns: What the results file says of the wait; nil without one.
    func untilCool(before names: String, _ look: (DeviceState) -> Void) async -> String? {
        var waited = 0.0
        var state = await device.state()
        while state.thermal.isHot, waited < Self.longest {
            look(state)
            guard (try? await clock.sleep(seconds: Self.step)) != nil else { return nil }
            waited += Self.step
            state = await device.state()
        }
        guard waited > 0 else { return nil }
        let seconds = String(format: "%g", waited)
        return state.thermal.isHot
            ? "The device was still \(state.thermal.rawValue) after a wait of \(seconds) s, and was timed all the same: \(names)."
            : "The device was hot and was let cool for \(seconds) s before it was timed: \(names)."
    }
}

@testable import EvimCore

/// A clock that goes on only when it is told to: by a fake model's predictions, and by sleep.
final class FakeClock: MonotonicClock {
    private let seconds = Locked(1000.0)

    func now() -> Double { seconds { $0 } }

    /// Lets time pass; a negative figure is a clock that goes backwards.
    func advance(by duration: Double) {
        seconds { $0 += duration }
    }

    func sleep(seconds: Double) async throws {
        try Task.checkCancellation()
        advance(by: seconds)
    }
}

/// A device that tells the states of a script, and the last one from then on; each takes it a millisecond.
struct FakeDevice: DeviceMonitor {
    private let script: Locked<[ThermalState]>
    private let clock: FakeClock
    private let lowPowerMode: Bool

    init(_ script: [ThermalState] = [.nominal], clock: FakeClock, lowPowerMode: Bool = false) {
        self.script = Locked(script)
        self.clock = clock
        self.lowPowerMode = lowPowerMode
    }

    func state() async -> DeviceState {
        clock.advance(by: 0.001)
        let thermal = script { $0.count > 1 ? $0.removeFirst() : $0[0] }
        return DeviceState(thermal: thermal, lowPowerMode: lowPowerMode, batteryShare: 0.8)
    }
}

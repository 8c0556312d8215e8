import Testing

@testable import EvimCore

@Suite struct ThermalWaitTests {
    @Test(
        arguments: [
            ([.nominal], 0, nil), ([.fair], 0, nil),
            ([.serious, .nominal], 5, "The device was hot and was let cool for 5 s before it was timed: cpuOnly."),
            (
                [.critical, .serious, .fair], 10,
                "The device was hot and was let cool for 10 s before it was timed: cpuOnly."
            ),
            (
                [.serious], 300,
                "The device was still serious after a wait of 300 s, and was timed all the same: cpuOnly."
            ),
        ] as [([ThermalState], Double, String?)])
    func waitsAsLongAsItIsHot(states: [ThermalState], seconds: Double, said: String?) async {
        let clock = FakeClock()
        let looks = Locked(0)
        let wait = ThermalWait(device: FakeDevice(states, clock: clock), clock: clock)
        let note = await wait.untilCool(before: "cpuOnly") { state in
            looks { $0 += 1 }
            #expect(state.thermal.isHot)
        }
        #expect(note == said)
        #expect(looks { $0 } == Int(seconds / ThermalWait.step))
    }

    @Test func aCancelledTaskWaitsNoMore() async {
        let note = await Task {
            withUnsafeCurrentTask { $0?.cancel() }
            let clock = FakeClock()
            return await ThermalWait(device: FakeDevice([.serious], clock: clock), clock: clock)
                .untilCool(before: "all") { _ in }
        }.value
        #expect(note == nil)
    }
}

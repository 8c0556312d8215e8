import Testing

@testable import EvimCore

@Suite struct MonotonicClockTests {
    @Test func goesForward() async throws {
        let clock = SystemClock()
        let before = clock.now()
        #expect(before >= 0 && before < 60)
        try await clock.sleep(seconds: 0.01)
        #expect(clock.now() - before >= 0.01)
    }

    @Test func sleepEndsWithItsTask() async {
        let sleep = Task { try await SystemClock().sleep(seconds: 600) }
        sleep.cancel()
        await #expect(throws: CancellationError.self) { try await sleep.value }
    }
}

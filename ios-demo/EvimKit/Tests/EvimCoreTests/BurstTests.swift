import Testing

@testable import EvimCore

@Suite struct BurstTests {
    private let clock = FakeClock()

    @Test(
        arguments: [
            (Burst(leastSamples: 3), 3), (Burst(leastSamples: 1, leastSeconds: 1), 4),
            (Burst(leastSamples: 6, leastSeconds: 1), 6), (Burst(leastSamples: 0, leastSeconds: 0), 0),
        ])
    func endsWithSamplesAndSecondsEnough(burst: Burst, count: Int) throws {
        let samples = try burst.time(by: clock) { clock.advance(by: 0.25) }
        #expect(samples == [Double](repeating: 0.25, count: count))
    }

    @Test func samplesAreToTheNanosecond() throws {
        let samples = try Burst(leastSamples: 1).time(by: clock) { clock.advance(by: 0.0010416667891) }
        #expect(samples == [0.001041667])
    }

    @Test(arguments: [0, -0.5, 1e-10])
    func aClockThatDoesNotGoForwardIsRefused(duration: Double) {
        #expect(throws: EvimError.clockWentBackwards(seconds: duration == -0.5 ? -0.5 : 0)) {
            try Burst(leastSamples: 2).time(by: clock) { clock.advance(by: duration) }
        }
    }

    @Test func whatThePredictionThrowsEndsIt() {
        #expect(throws: EvimError.transparentImage) {
            try Burst(leastSamples: 2).time(by: clock) { throw EvimError.transparentImage }
        }
    }

    @Test func aCancelledTaskKeepsWhatItHas() async throws {
        let clock = clock
        let samples = try await Task {
            var count = 0
            return try Burst(leastSamples: 10).time(by: clock) {
                clock.advance(by: 0.5)
                count += 1
                if count == 4 { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }.value
        #expect(samples.count == 4)
    }
}

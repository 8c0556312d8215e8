import Foundation
import Testing

@testable import EvimCore

@Suite struct TimestampTests {
    @Test(
        arguments: [
            ("2026-09-24T12:00:00Z", 1_790_251_200), ("2026-09-24T12:00:00.250000Z", 1_790_251_200.25),
            ("2026-09-24T14:00:00+02:00", 1_790_251_200), ("2026-09-24T12:00:00.123456Z", 1_790_251_200.123456),
            ("1969-12-31T23:59:59.500000Z", -0.5),
        ])
    func reads(text: String, seconds: Double) throws {
        let date = try #require(Timestamp.date(of: text))
        #expect(abs(date.timeIntervalSince1970 - seconds) < 1e-6)
        #expect(Timestamp.date(of: Timestamp.text(of: date)) == date)
    }

    @Test(arguments: ["2026-09-24T12:00:00Z", "2026-09-24T12:00:00.123456Z", "2026-09-24T12:00:00.000001Z"])
    func writesWhatItRead(text: String) throws {
        #expect(Timestamp.text(of: try #require(Timestamp.date(of: text))) == text)
    }

    @Test(arguments: ["", "today", "2026-09-24", "2026-09-24T12:00:00", "2026-13-24T12:00:00Z", "2026-09-24 12:00:00Z"])
    func refusesWhatIsNoMoment(text: String) {
        #expect(Timestamp.date(of: text) == nil)
    }
}

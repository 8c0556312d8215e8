import Foundation

/// Moments as results files write them: ISO 8601, in UTC, down to the microsecond where there is one.
enum Timestamp {
    /// The text of a moment, `2026-09-24T12:00:00Z`.
    static func text(of date: Date) -> String {
        let microseconds = (date.timeIntervalSince1970 * 1e6).rounded()
        let seconds = (microseconds / 1e6).rounded(.down)
        let whole = Date(timeIntervalSince1970: seconds).formatted(.iso8601)
        let rest = Int(microseconds - seconds * 1e6)
        return rest == 0 ? whole : "\(whole.dropLast()).\(String(format: "%06d", rest))Z"
    }

    /// The moment of a text; nil where it is none, or does not name its time zone.
    static func date(of text: String) -> Date? {
        // Foundation's style takes either always a fraction or never one
        guard let parts = text.wholeMatch(of: /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)/),
            let whole = try? Date("\(parts.1)\(parts.3)", strategy: .iso8601)
        else { return nil }
        guard let fraction = parts.2 else { return whole }
        return Double("0\(fraction)").map(whole.addingTimeInterval)
    }
}

import Foundation

/// Figures as the screens write them, in the language of the device.
enum Format {
    /// A duration of a prediction.
    static func milliseconds(_ seconds: Double) -> String {
        let number = (seconds * 1000).formatted(.number.precision(.significantDigits(4)))
        return String(localized: "\(number) ms")
    }

    /// A share, 0 to 1.
    static func percent(_ share: Double) -> String {
        share.formatted(.percent.precision(.fractionLength(1)))
    }

    /// A difference between two computations, which may be many orders of magnitude below 1.
    static func error(_ value: Double) -> String {
        value.formatted(.number.notation(.scientific).precision(.significantDigits(2)))
    }
}

import Foundation

/// An error as a screen shows it: what went wrong, and what to do about it.
struct Failure: Error, Equatable, Sendable {
    let message: String
    let remedy: String?

    init(_ error: any Error) {
        message = error.localizedDescription
        remedy = (error as? any LocalizedError)?.recoverySuggestion
    }
}

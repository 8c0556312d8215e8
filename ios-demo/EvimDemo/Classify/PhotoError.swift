import Foundation

/// Why a photo cannot be classified.
enum PhotoError: LocalizedError {
    /// It is of no format that the system decodes.
    case unreadable
    /// The device has not enough memory to draw it.
    case tooLarge

    var errorDescription: String? {
        switch self {
        case .unreadable: String(localized: "The photo cannot be read.")
        case .tooLarge: String(localized: "The photo is too large for this device.")
        }
    }

    var recoverySuggestion: String? {
        switch self {
        case .unreadable, .tooLarge: String(localized: "Choose another photo.")
        }
    }
}

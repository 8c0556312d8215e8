import Foundation

/// Why there are no frames of a camera.
enum CameraError: LocalizedError {
    /// The device has no camera on its back, as the simulator.
    case missing
    /// The person does not let the app use it.
    case refused
    /// The session does not take the camera or its output.
    case busy

    var errorDescription: String? {
        switch self {
        case .missing: String(localized: "This device has no camera.")
        case .refused: String(localized: "The app may not use the camera.")
        case .busy: String(localized: "The camera cannot be used now.")
        }
    }

    var recoverySuggestion: String? {
        switch self {
        case .missing: String(localized: "Choose a photo or the sample.")
        case .refused: String(localized: "Allow it in Settings, under Apps, EvimDemo.")
        case .busy: String(localized: "Close other apps that use it, and try again.")
        }
    }
}

import SwiftUI

/// Where the images come from that are classified.
enum ImageSource: CaseIterable, Identifiable {
    case sample
    case photo
    case camera

    var id: Self { self }

    /// The source as a person calls it.
    var title: LocalizedStringResource {
        switch self {
        case .sample: LocalizedStringResource("Sample")
        case .photo: LocalizedStringResource("Photo")
        case .camera: LocalizedStringResource("Camera")
        }
    }
}

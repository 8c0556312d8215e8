// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

// PhotosPicker is in the overlay that Xcode imports where both PhotosUI and SwiftUI are.

import SwiftUI

/// What the picker offers.
public struct PHPickerFilter: Equatable, Hashable, Sendable {
    public static let images = PHPickerFilter()
}

/// What was picked.
public struct PhotosPickerItem: Equatable, Hashable, @unchecked Sendable {
    /// Whether a file is converted.
    public struct EncodingDisambiguationPolicy: Equatable, Hashable, Sendable {
        public static let automatic = EncodingDisambiguationPolicy()
    }
    public func loadTransferable<T>(type: T.Type) async throws -> T? where T: Transferable {
        fatalError("a declaration")
    }
}

/// Chooses photos.
@MainActor @preconcurrency
public struct PhotosPicker<Label>: View where Label: View {
    public var body: Never { fatalError("a declaration") }
}

extension PhotosPicker where Label == Text {
    nonisolated public init(
        _ titleKey: LocalizedStringKey, selection: Binding<PhotosPickerItem?>, matching filter: PHPickerFilter? = nil,
        preferredItemEncoding: PhotosPickerItem.EncodingDisambiguationPolicy = .automatic
    ) {
        fatalError("a declaration")
    }
}

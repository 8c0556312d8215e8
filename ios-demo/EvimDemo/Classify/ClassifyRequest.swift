import PhotosUI
import SwiftUI

/// What the screen asks for; work for an earlier request is dropped when it changes.
struct ClassifyRequest: Equatable {
    let model: BundledModel
    let source: ImageSource
    let item: PhotosPickerItem?
}

import SwiftUI
import UIKit

/// The middle square of the image that is classified; the model sees the inner seven eighths of it.
struct PictureView: View {
    let source: ImageSource
    let image: UIImage?
    let camera: Camera

    var body: some View {
        Color.secondary.opacity(0.2)
            .aspectRatio(1, contentMode: .fit)
            .overlay { picture }
            .clipShape(.rect(cornerRadius: 12))
    }

    @ViewBuilder private var picture: some View {
        if source == .camera {
            CameraPreview(source: camera.source)
                .accessibilityLabel("What the camera sees")
        } else if let image {
            Image(uiImage: image)
                .resizable()
                .scaledToFill()
                .accessibilityLabel("The image that is classified")
        }
    }
}

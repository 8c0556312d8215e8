import AVFoundation
import SwiftUI
import UIKit

/// What the camera sees.
struct CameraPreview: UIViewRepresentable {
    let source: CameraSource

    func makeUIView(context: Context) -> PreviewView {
        let view = PreviewView()
        view.show(source.session)
        return view
    }

    func updateUIView(_ view: PreviewView, context: Context) {}
}

/// A view that its preview layer fills.
final class PreviewView: UIView {
    private let preview = AVCaptureVideoPreviewLayer()

    /// Shows a session.
    func show(_ session: AVCaptureSession) {
        preview.session = session
        preview.videoGravity = .resizeAspectFill
        layer.addSublayer(preview)
    }

    override func layoutSubviews() {
        super.layoutSubviews()
        preview.frame = bounds
    }
}

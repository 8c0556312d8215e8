import AVFoundation

/// The camera's session, which the actor configures and the preview's layer shows.
///
/// Unchecked, because AVFoundation does not mark the session Sendable: only `Camera` changes it, and a preview
/// layer may be connected to it from the main thread at any time.
struct CameraSource: @unchecked Sendable {
    let session = AVCaptureSession()
}

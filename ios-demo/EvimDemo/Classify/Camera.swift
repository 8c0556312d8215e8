import AVFoundation
import EvimCoreML

/// The camera on the back of the phone, upright, of whose frames only the newest is kept.
actor Camera {
    /// What the preview shows.
    nonisolated let source = CameraSource()

    private var receiver: FrameReceiver?

    /// Shows the camera's frames to a model until the task is cancelled.
    ///
    /// Frames are made into a model's input where the camera delivers them, because a pixel buffer is the
    /// camera's own and may not leave its queue.
    ///
    /// - Parameters:
    ///   - model: Whose input they are made into.
    ///   - show: Takes a frame; the next one is the newest after it returns.
    /// - Throws: `CameraError` where there is no camera or the person refuses it, and what preparing or showing
    ///   a frame throws.
    func run(for model: EvimModel, show: @Sendable (PreparedImage) async throws -> Void) async throws {
        guard let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back) else {
            throw CameraError.missing
        }
        guard await AVCaptureDevice.requestAccess(for: .video) else { throw CameraError.refused }
        try Task.checkCancellation()
        let (frames, continuation) = AsyncThrowingStream.makeStream(
            of: PreparedImage.self, bufferingPolicy: .bufferingNewest(1))
        let receiver = FrameReceiver(model: model, continuation: continuation)
        try connect(device, to: receiver)
        self.receiver = receiver
        // a later run may have begun before this one ends
        defer { if self.receiver === receiver { stop() } }
        source.session.startRunning()
        for try await frame in frames { try await show(frame) }
    }

    private func stop() {
        source.session.stopRunning()
        receiver = nil
    }

    private func connect(_ device: AVCaptureDevice, to receiver: FrameReceiver) throws {
        let session = source.session
        let input = try AVCaptureDeviceInput(device: device)
        let output = AVCaptureVideoDataOutput()
        output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
        output.setSampleBufferDelegate(receiver, queue: DispatchQueue(label: "EvimDemo.Camera"))
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        for old in session.inputs { session.removeInput(old) }
        for old in session.outputs { session.removeOutput(old) }
        session.sessionPreset = .hd1280x720
        guard session.canAddInput(input), session.canAddOutput(output) else { throw CameraError.busy }
        session.addInput(input)
        session.addOutput(output)
        guard let connection = output.connection(with: .video) else { throw CameraError.busy }
        let upright: CGFloat = 90
        if connection.isVideoRotationAngleSupported(upright) {
            connection.videoRotationAngle = upright
        }
    }
}

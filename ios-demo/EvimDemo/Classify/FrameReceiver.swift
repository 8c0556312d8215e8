import AVFoundation
import EvimCoreML

/// Makes each frame into a model's input, on the queue on which the camera delivers it.
final class FrameReceiver: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    private let model: EvimModel
    private let continuation: AsyncThrowingStream<PreparedImage, any Error>.Continuation

    init(model: EvimModel, continuation: AsyncThrowingStream<PreparedImage, any Error>.Continuation) {
        self.model = model
        self.continuation = continuation
    }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let pixels = sampleBuffer.imageBuffer else { return }
        do {
            continuation.yield(try model.prepare(pixels))
        } catch {
            continuation.finish(throwing: error)
        }
    }
}

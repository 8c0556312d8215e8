// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

// None of the capture classes is Sendable on Apple's systems.

@_exported import CoreMedia
import Dispatch
@_exported import QuartzCore

/// What a recording is made of.
public struct AVMediaType: Hashable, RawRepresentable, Sendable {
    public var rawValue: String
    public init(rawValue: String) { fatalError("a declaration") }
    public static let video = AVMediaType(rawValue: "")
}

/// How a layer shows a video of another shape than its own.
public struct AVLayerVideoGravity: Hashable, RawRepresentable, Sendable {
    public var rawValue: String
    public init(rawValue: String) { fatalError("a declaration") }
    public static let resizeAspectFill = AVLayerVideoGravity(rawValue: "")
}

/// A camera.
open class AVCaptureDevice: NSObject {
    /// The kind of a camera.
    public struct DeviceType: Hashable, RawRepresentable, Sendable {
        public var rawValue: String
        public init(rawValue: String) { fatalError("a declaration") }
        public static let builtInWideAngleCamera = DeviceType(rawValue: "")
    }
    /// Where a camera is.
    public enum Position: Int, Sendable {
        case unspecified, back, front
    }
    open class func `default`(
        _ deviceType: DeviceType, for mediaType: AVMediaType?, position: Position
    ) -> AVCaptureDevice? {
        fatalError("a declaration")
    }
    open class func requestAccess(for mediaType: AVMediaType) async -> Bool { fatalError("a declaration") }
}

/// Where a session gets its frames from.
open class AVCaptureInput: NSObject {}

/// A camera, as a session takes it.
open class AVCaptureDeviceInput: AVCaptureInput {
    public init(device: AVCaptureDevice) throws { fatalError("a declaration") }
}

/// From an input to an output.
open class AVCaptureConnection: NSObject {
    open var videoRotationAngle: CGFloat {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    open func isVideoRotationAngleSupported(_ videoRotationAngle: CGFloat) -> Bool { fatalError("a declaration") }
}

/// Where a session's frames go.
open class AVCaptureOutput: NSObject {
    open func connection(with mediaType: AVMediaType) -> AVCaptureConnection? { fatalError("a declaration") }
}

/// Takes frames. Its methods are optional on Apple's systems.
public protocol AVCaptureVideoDataOutputSampleBufferDelegate: NSObjectProtocol {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection)
}

/// Gives frames to a delegate.
open class AVCaptureVideoDataOutput: AVCaptureOutput {
    public override init() { fatalError("a declaration") }
    // swift-format-ignore: NeverUseImplicitlyUnwrappedOptionals
    open var videoSettings: [String: Any]! {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    open func setSampleBufferDelegate(
        _ sampleBufferDelegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?,
        queue sampleBufferCallbackQueue: DispatchQueue?
    ) {
        fatalError("a declaration")
    }
}

/// Cameras and what takes their frames.
open class AVCaptureSession: NSObject {
    /// The size of the frames.
    public struct Preset: Hashable, RawRepresentable, Sendable {
        public var rawValue: String
        public init(rawValue: String) { fatalError("a declaration") }
        public static let hd1280x720 = Preset(rawValue: "")
    }
    public override init() { fatalError("a declaration") }
    open var sessionPreset: Preset {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    open var inputs: [AVCaptureInput] { fatalError("a declaration") }
    open var outputs: [AVCaptureOutput] { fatalError("a declaration") }
    open func beginConfiguration() { fatalError("a declaration") }
    open func commitConfiguration() { fatalError("a declaration") }
    open func canAddInput(_ input: AVCaptureInput) -> Bool { fatalError("a declaration") }
    open func addInput(_ input: AVCaptureInput) { fatalError("a declaration") }
    open func removeInput(_ input: AVCaptureInput) { fatalError("a declaration") }
    open func canAddOutput(_ output: AVCaptureOutput) -> Bool { fatalError("a declaration") }
    open func addOutput(_ output: AVCaptureOutput) { fatalError("a declaration") }
    open func removeOutput(_ output: AVCaptureOutput) { fatalError("a declaration") }
    open func startRunning() { fatalError("a declaration") }
    open func stopRunning() { fatalError("a declaration") }
}

/// Shows a session.
open class AVCaptureVideoPreviewLayer: CALayer {
    public override init() { fatalError("a declaration") }
    open var session: AVCaptureSession? {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    open var videoGravity: AVLayerVideoGravity {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
}

// What Apple's documentation says of these is not said again.
// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

@_exported import QuartzCore

/// What takes part in events.
@MainActor
open class UIResponder: NSObject {}

/// A view.
@MainActor
open class UIView: UIResponder {
    open var bounds: CGRect {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    open var layer: CALayer { fatalError("a declaration") }
    open func layoutSubviews() { fatalError("a declaration") }
}

/// The running app.
@MainActor
open class UIApplication: UIResponder {
    public static var shared: UIApplication { fatalError("a declaration") }
    open var isIdleTimerDisabled: Bool {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
}

/// The kind of device that an interface is made for.
public enum UIUserInterfaceIdiom: Int, Sendable {
    case unspecified = -1
    case phone, pad, tv, carPlay, mac = 5, vision
}

/// The device.
@MainActor
open class UIDevice: NSObject {
    public static var current: UIDevice { fatalError("a declaration") }
    open var systemName: String { fatalError("a declaration") }
    open var systemVersion: String { fatalError("a declaration") }
    open var model: String { fatalError("a declaration") }
    open var userInterfaceIdiom: UIUserInterfaceIdiom { fatalError("a declaration") }
    open var isBatteryMonitoringEnabled: Bool {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    open var batteryLevel: Float { fatalError("a declaration") }
}

/// An image and how it is turned.
public final class UIImage: NSObject, @unchecked Sendable {
    public init?(data: Data) { fatalError("a declaration") }
}

public typealias NSDataAssetName = String

/// A data set of an asset catalogue. Which thread Apple's may be used on is not written down; the main one always is.
@MainActor
open class NSDataAsset: NSObject {
    public init?(name: NSDataAssetName) { fatalError("a declaration") }
    open var data: Data { fatalError("a declaration") }
}

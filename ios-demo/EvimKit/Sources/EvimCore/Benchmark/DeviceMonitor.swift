/// How hot a device says that it is; the names of `ProcessInfo.ThermalState`.
public enum ThermalState: String, CaseIterable, Codable, Sendable {
    /// Within its limits.
    case nominal
    /// Slightly warm.
    case fair
    /// So hot that the system slows work down.
    case serious
    /// So hot that work should stop.
    case critical

    /// Whether the system slows work down for it.
    public var isHot: Bool {
        self == .serious || self == .critical
    }
}

/// What a device tells of itself at one moment.
public struct DeviceState: Equatable, Sendable {
    /// How hot it says that it is.
    public let thermal: ThermalState
    /// Whether low power mode is on; nil where the system does not tell.
    public let lowPowerMode: Bool?
    /// Charge of the battery, 0 to 1; nil where there is none or the system does not tell.
    public let batteryShare: Double?

    /// A state of these facts.
    public init(thermal: ThermalState, lowPowerMode: Bool? = nil, batteryShare: Double? = nil) {
        self.thermal = thermal
        self.lowPowerMode = lowPowerMode
        self.batteryShare = batteryShare
    }
}

/// Tells the state of the device.
public protocol DeviceMonitor: Sendable {
    /// The state now.
    func state() async -> DeviceState
}

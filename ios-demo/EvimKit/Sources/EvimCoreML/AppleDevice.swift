#if canImport(CoreML)
    import EvimCore
    import Foundation

    #if canImport(UIKit)
        import UIKit
    #endif

    /// Tells what an iPhone, iPad or Mac says of its heat, its low power mode and its battery.
    public struct AppleDevice: DeviceMonitor {
        /// The device that this runs on.
        public init() {}

        /// The state now; the battery's charge is nil on a Mac and in the simulator.
        public func state() async -> DeviceState {
            let process = ProcessInfo.processInfo
            return DeviceState(
                thermal: ThermalState(process.thermalState), lowPowerMode: process.isLowPowerModeEnabled,
                batteryShare: await batteryShare())
        }

        #if canImport(UIKit)
            @MainActor private func batteryShare() -> Double? {
                let device = UIDevice.current
                device.isBatteryMonitoringEnabled = true
                let level = device.batteryLevel  // -1 where it is not known
                return level < 0 ? nil : Double(level)
            }
        #else
            private func batteryShare() async -> Double? { nil }
        #endif
    }

    extension ThermalState {
        fileprivate init(_ state: ProcessInfo.ThermalState) {
            switch state {
            case .nominal: self = .nominal
            case .fair: self = .fair
            case .serious: self = .serious
            case .critical: self = .critical
            @unknown default: self = .critical  // a state to come: nothing is timed in it
            }
        }
    }
#endif

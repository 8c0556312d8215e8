#if canImport(CoreML)
    import Darwin
    import EvimCore
    import Foundation
    import Metal

    extension AppleDevice {
        /// The device in words, for a results file.
        ///
        /// Where the system does not tell the processor's name, the GPU's ("Apple A17 Pro GPU") says which chip it is.
        public static func host() -> Results.Host {
            let process = ProcessInfo.processInfo
            return Results.Host(
                system: system(process.operatingSystemVersionString),
                machine: machine(),
                processor: kernelText("machdep.cpu.brand_string") ?? "arm64",
                cores: process.activeProcessorCount,
                memoryBytes: Int(clamping: process.physicalMemory),
                accelerator: MTLCreateSystemDefaultDevice()?.name)
        }

        /// Whether this is an iPhone itself, not the simulator of one.
        public static var isPhone: Bool { machine().hasPrefix("iPhone") }

        /// "Version 18.1 (Build 22B83)" as "iOS 18.1 (Build 22B83)".
        private static func system(_ version: String) -> String {
            #if os(macOS)
                let name = "macOS"
            #else
                let name = "iOS"
            #endif
            return "\(name) \(version.replacingOccurrences(of: "Version ", with: ""))"
        }

        /// The model as Apple numbers it: iPhone16,1.
        private static func machine() -> String {
            #if targetEnvironment(simulator)
                let simulated = ProcessInfo.processInfo.environment["SIMULATOR_MODEL_IDENTIFIER"]
                return "simulator of \(simulated ?? "a device")"
            #elseif os(macOS)
                return kernelText("hw.model") ?? "Mac"
            #else
                return kernelText("hw.machine") ?? "iOS device"
            #endif
        }

        /// A text that the kernel knows by a name; nil where it does not tell.
        private static func kernelText(_ name: String) -> String? {
            var size = 0
            guard sysctlbyname(name, nil, &size, nil, 0) == 0, size > 0 else { return nil }
            var bytes = [UInt8](repeating: 0, count: size)
            guard sysctlbyname(name, &bytes, &size, nil, 0) == 0 else { return nil }
            return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
#endif

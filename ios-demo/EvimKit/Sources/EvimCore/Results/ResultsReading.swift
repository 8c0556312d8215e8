extension Results {
    /// What the machine told of itself at one moment; what it does not tell is left out.
    ///
    /// A phone tells the last three figures. The others are a computer's, and are kept when a file is written again.
    public struct Reading: Equatable, Sendable {
        /// When a reading was taken.
        public enum Phase: String, Codable, Sendable {
            /// Before anything was loaded.
            case before
            /// Beside the rounds.
            case during
            /// After the last round.
            case after
        }

        /// Seconds since the run began.
        public let atSeconds: Double
        /// When it was taken.
        public let phase: Phase
        /// Processes that ran or waited, averaged over a minute.
        public var load1m: Double?
        /// Share of the processor's time since the last reading that the hypervisor gave to others.
        public var stealShare: Double?
        /// Share of one core's time since the last reading that processes which are not part of the run took.
        public var othersShare: Double?
        /// Of the processor's cores, the mean.
        public var frequencyMHz: Double?
        /// Times that the processor was slowed down for heat since it was started.
        public var throttled: Int?
        /// The hottest sensor of the processor, degrees Celsius.
        public var temperatureC: Double?
        /// Memory that could still be given out.
        public var memoryAvailableBytes: Int?
        /// Clock of the GPU.
        public var acceleratorMHz: Double?
        /// Temperature of the GPU, degrees Celsius.
        public var acceleratorTemperatureC: Double?
        /// How hot a phone says that it is.
        public var thermalState: ThermalState?
        /// Whether a phone says that it saves power.
        public var lowPowerMode: Bool?
        /// Charge of the battery, 0 to 1.
        public var batteryShare: Double?
    }
}

extension Results.Reading: Codable {
    enum CodingKeys: String, CodingKey {
        case phase, throttled
        case atSeconds = "at_s"
        case load1m = "load_1m"
        case stealShare = "steal_share"
        case othersShare = "others_share"
        case frequencyMHz = "frequency_mhz"
        case temperatureC = "temperature_c"
        case memoryAvailableBytes = "memory_available_bytes"
        case acceleratorMHz = "accelerator_mhz"
        case acceleratorTemperatureC = "accelerator_temperature_c"
        case thermalState = "thermal_state"
        case lowPowerMode = "low_power_mode"
        case batteryShare = "battery_share"
    }

    /// Reads a reading, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        atSeconds = try values.decode(forKey: .atSeconds, atLeast: 0)
        phase = try values.decode(Phase.self, forKey: .phase)
        load1m = try values.decodeIfPresent(forKey: .load1m, atLeast: 0)
        stealShare = try values.decodeIfPresent(forKey: .stealShare, atLeast: 0)
        othersShare = try values.decodeIfPresent(forKey: .othersShare, atLeast: 0)
        frequencyMHz = try values.decodeIfPresent(forKey: .frequencyMHz, atLeast: 0)
        throttled = try values.decodeIfPresent(Int.self, forKey: .throttled)
        temperatureC = try values.decodeIfPresent(Double.self, forKey: .temperatureC)
        memoryAvailableBytes = try values.decodeIfPresent(Int.self, forKey: .memoryAvailableBytes)
        acceleratorMHz = try values.decodeIfPresent(forKey: .acceleratorMHz, atLeast: 0)
        acceleratorTemperatureC = try values.decodeIfPresent(Double.self, forKey: .acceleratorTemperatureC)
        thermalState = try values.decodeIfPresent(ThermalState.self, forKey: .thermalState)
        lowPowerMode = try values.decodeIfPresent(Bool.self, forKey: .lowPowerMode)
        batteryShare = try values.decodeIfPresent(forKey: .batteryShare, atLeast: 0)
    }
}

extension Results {
    /// The machine, in words.
    public struct Host: Equatable, Sendable {
        /// Operating system and its version, `iOS 18.1`.
        public let system: String
        /// The phone's model as it tells it, `iPhone17,3`.
        public let machine: String
        /// The processor's name.
        public let processor: String
        /// Logical cores that the process may use, at least 1.
        public let cores: Int
        /// Memory that the process may use.
        public let memoryBytes: Int?
        /// GPU or other accelerator, where one is told.
        public let accelerator: String?
        /// Versions by the name of the package.
        public let packages: [String: String]

        /// A machine of these facts.
        public init(
            system: String, machine: String, processor: String, cores: Int, memoryBytes: Int? = nil,
            accelerator: String? = nil, packages: [String: String] = [:]
        ) {
            self.system = system
            self.machine = machine
            self.processor = processor
            self.cores = cores
            self.memoryBytes = memoryBytes
            self.accelerator = accelerator
            self.packages = packages
        }
    }

    /// How samples were taken; `protocol` in the file, which Swift keeps for itself.
    public struct TimingProtocol: Equatable, Sendable {
        /// Of a phone's file, the name of a ``BenchmarkMode``.
        public let name: String
        /// Least time of timed predictions of each contender, seconds; 0 where predictions are counted.
        public let seconds: Double
        /// Least time of predictions before the first sample, seconds.
        public let warmupSeconds: Double
        /// Rounds asked for.
        public let rounds: Int
        /// Of the order of the contenders in each round.
        public let seed: Int
        /// Seconds after which no further round was begun.
        public let budgetSeconds: Double?
        /// In what the run departs from the protocol's own figures.
        public let deviations: [String]
    }
}

extension Results.Host: Codable {
    enum CodingKeys: String, CodingKey {
        case system, machine, processor, cores, accelerator, packages
        case memoryBytes = "memory_bytes"
    }

    /// Reads a machine, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        system = try values.decode(String.self, forKey: .system)
        machine = try values.decode(String.self, forKey: .machine)
        processor = try values.decode(String.self, forKey: .processor)
        cores = try values.decode(forKey: .cores, atLeast: 1)
        memoryBytes = try values.decodeIfPresent(forKey: .memoryBytes, atLeast: 1)
        accelerator = try values.decodeIfPresent(String.self, forKey: .accelerator)
        packages = try values.decode(forKey: .packages, orElse: [:])
    }
}

extension Results.TimingProtocol: Codable {
    enum CodingKeys: String, CodingKey {
        case name, seconds, rounds, seed, deviations
        case warmupSeconds = "warmup_s"
        case budgetSeconds = "budget_s"
    }

    /// Reads a protocol, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        seconds = try values.decode(forKey: .seconds, atLeast: 0)
        warmupSeconds = try values.decode(forKey: .warmupSeconds, atLeast: 0)
        rounds = try values.decode(forKey: .rounds, atLeast: 1)
        seed = try values.decode(Int.self, forKey: .seed)
        budgetSeconds = try values.decodeIfPresent(forKey: .budgetSeconds, atLeast: 0)
        deviations = try values.decode(forKey: .deviations, orElse: [])
    }
}

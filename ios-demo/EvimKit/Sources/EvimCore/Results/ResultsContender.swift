extension Results {
    /// One subject in one engine and one setting, and what came of it.
    public struct Contender: Equatable, Identifiable, Sendable {
        /// What a contender is there for.
        public enum Role: String, Codable, Sendable {
            /// To be known.
            case contender
            /// Times another contender of its group once more, and is called like it with `, control` after the name.
            case control
            /// Work that never changes.
            case yardstick
        }

        /// The paper's setting that a contender stands beside.
        public enum Setting: String, Codable, Sendable {
            /// AMD EPYC 7742.
            case cpu
            /// NVIDIA RTX 3090.
            case gpu
            /// iPhone 16.
            case iphone
        }

        /// What came of a contender.
        public enum Outcome: String, Codable, Sendable {
            /// It has samples.
            case measured
            /// Memory ran out.
            case outOfMemory = "out of memory"
            /// It could not be loaded, failed on the way, or gave other answers.
            case failed
            /// The host does not have what it needs.
            case notRun = "not run on this host"
            /// The run ended before.
            case notReached = "not reached"
        }

        /// Unique in the file, and the same in two files that time the same thing.
        public let id: String
        /// Those whose rounds were taken together, so that ratios between them are paired.
        public let group: String
        /// What it is there for.
        public let role: Role
        /// What is timed.
        public let subject: Subject
        /// `coreml` on a phone.
        public let engine: String
        /// Of the engine; on a phone that of the system, whose part Core ML is.
        public let engineVersion: String
        /// How the engine computes; on a phone the name of ``ComputeUnits``.
        public let mode: String?
        /// The paper's setting that it stands beside.
        public let setting: Setting?
        /// What computes; `coreml` on a phone.
        public let device: String
        /// `fp16` or `fp32`.
        public let precision: String
        /// Threads that the engine may use; nil where it decides.
        public let threads: Int?
        /// Of the images, pixels.
        public let height: Int
        /// Of the images, pixels.
        public let width: Int
        /// Images in one prediction, as it was timed.
        public let batch: Int
        /// Images in one prediction, as it was asked for.
        public let batchAsked: Int
        /// What came of it.
        public let outcome: Outcome
        /// Why there are no samples, or fewer than asked for.
        public let reason: String?
        /// Whether it computes what its model does.
        public let check: Check?
        /// From a file to an answer.
        public let coldStart: ColdStart?
        /// Memory that it held.
        public let memory: Memory?
        /// Batches that were tried.
        public let attempts: [Attempt]
        /// Time predicted before the first sample, seconds.
        public let warmupSeconds: Double
        /// Its samples, round by round.
        public let rounds: [Round]
        /// The engine's own profile.
        public let breakdown: [Share]?

        /// Every sample in order, seconds of a batch.
        public var samples: [Double] { rounds.flatMap(\.samples) }
    }
}

extension Results.Contender: Codable {
    enum CodingKeys: String, CodingKey {
        case id, group, role, subject, engine, mode, setting, device, precision, threads, height, width, batch, outcome
        case reason, check, memory, attempts, rounds, breakdown
        case engineVersion = "engine_version"
        case batchAsked = "batch_asked"
        case coldStart = "cold_start"
        case warmupSeconds = "warmup_s"
    }

    /// Reads a contender, and refuses what the schema does not have.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        id = try values.decode(String.self, forKey: .id)
        group = try values.decode(String.self, forKey: .group)
        role = try values.decode(forKey: .role, orElse: .contender)
        subject = try values.decode(Results.Subject.self, forKey: .subject)
        engine = try values.decode(String.self, forKey: .engine)
        engineVersion = try values.decode(String.self, forKey: .engineVersion)
        mode = try values.decodeIfPresent(String.self, forKey: .mode)
        setting = try values.decodeIfPresent(Setting.self, forKey: .setting)
        device = try values.decode(String.self, forKey: .device)
        precision = try values.decode(String.self, forKey: .precision)
        threads = try values.decodeIfPresent(forKey: .threads, atLeast: 1)
        height = try values.decode(forKey: .height, atLeast: 1)
        width = try values.decode(forKey: .width, atLeast: 1)
        batch = try values.decode(forKey: .batch, atLeast: 1)
        batchAsked = try values.decode(forKey: .batchAsked, atLeast: 1)
        outcome = try values.decode(Outcome.self, forKey: .outcome)
        reason = try values.decodeIfPresent(String.self, forKey: .reason)
        check = try values.decodeIfPresent(Results.Check.self, forKey: .check)
        coldStart = try values.decodeIfPresent(Results.ColdStart.self, forKey: .coldStart)
        memory = try values.decodeIfPresent(Results.Memory.self, forKey: .memory)
        attempts = try values.decode(forKey: .attempts, orElse: [])
        warmupSeconds = try values.contains(.warmupSeconds) ? values.decode(forKey: .warmupSeconds, atLeast: 0) : 0
        rounds = try values.decode(forKey: .rounds, orElse: [])
        breakdown = try values.decodeIfPresent([Results.Share].self, forKey: .breakdown)
    }
}

import Foundation

@testable import EvimCore

/// A runner with fakes all around.
struct Bench {
    let clock = FakeClock()
    let loader: FakeLoader
    var golden: Golden?
    var device: FakeDevice
    var subject: BenchmarkSubject
    var isPhone = true

    init(_ behaviors: [ComputeUnits: FakeBehavior] = [:], states: [ThermalState] = [.nominal]) throws {
        loader = FakeLoader(behaviors, clock: clock)
        golden = try FakeModel.golden()
        device = FakeDevice(states, clock: clock)
        subject = try Self.subject()
    }

    /// EfficientViM-M4 as it is exported, with other facts in its manifest.
    static func subject(_ changes: [String: (any Sendable)?] = [:]) throws -> BenchmarkSubject {
        let facts: [String: (any Sendable)?] = [
            "model": "efficientvim_m4", "resolution": [256, 256],
            "artifact": "efficientvim_m4_UNTRAINED_random0_256x256_fp16.mlpackage",
            "weights": ["source": "random:0", "trained": false, "sha256": "9a", "note": ""] as [String: any Sendable],
        ]
        return BenchmarkSubject(manifest: try Manifest(decoding: Documents.manifest(facts.merging(changes) { $1 })))
    }

    static let host = Results.Host(
        system: "iOS 18.1", machine: "iPhone17,3", processor: "Apple A18", cores: 6, memoryBytes: 8_053_063_680,
        accelerator: "Apple A18 GPU")

    /// What a run writes, in a task of its own that a fake may cancel.
    func run(
        _ request: BenchmarkRequest, progress: @escaping @Sendable (BenchmarkProgress) -> Void = { _ in }
    ) async -> Results {
        let runner = BenchmarkRunner(
            subject: subject, golden: golden, loader: loader, clock: clock, device: device, host: Self.host,
            isPhone: isPhone, tool: "EvimDemo 0.1.0", created: Date(timeIntervalSince1970: 1_790_251_200))
        return await Task { await runner.run(request, progress: progress) }.value
    }
}

extension Results {
    /// The contender on some compute units.
    func contender(on units: ComputeUnits, role: Contender.Role = .contender) -> Contender? {
        contenders.first { $0.mode == units.rawValue && $0.role == role }
    }
}

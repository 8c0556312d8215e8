import EvimCore
import Testing

@testable import EvimDemo

/// The CPU computes what Linux computed.
@Suite(.enabled(if: Bundled.hasModels, "\(Bundled.reason)"))
struct ParityTests {
    @Test(arguments: Bundled.models)
    func theCPUPassesAndTheControlDoesNot(_ model: BundledModel) async throws {
        let golden = try #require(try model.golden())
        #expect(golden.controlParity.status == .fail)
        let check = await ParityCheck.run(model.package, on: .cpuOnly, against: golden)
        let parity = try check.outcome.get()
        #expect(parity.status == .pass)
        #expect(parity.maxAbs <= parity.tolerance.maxAbs)
    }

    @Test(arguments: Bundled.models)
    @MainActor func theScreenChecksAllComputeUnits(_ model: BundledModel) async {
        let session = ParitySession()
        await session.run(model)
        #expect(session.failure == nil)
        #expect(session.checks.map(\.units) == ComputeUnits.allCases)
    }
}

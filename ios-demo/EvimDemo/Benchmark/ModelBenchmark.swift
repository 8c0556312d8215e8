import EvimCore
import EvimCoreML
import Foundation

/// Measures a bundled model on this device.
struct ModelBenchmark: Sendable {
    let model: BundledModel

    /// Measures what a request asks for.
    ///
    /// - Parameters:
    ///   - request: The mode and the compute units.
    ///   - progress: Told how far it is, from any thread.
    /// - Returns: The results; those of a cancelled task hold what was measured until then.
    /// - Throws: `EvimError` where the model cannot be used at all; what fails on one choice of compute units is
    ///   in the results.
    func run(
        _ request: BenchmarkRequest, progress: @escaping @Sendable (BenchmarkProgress) -> Void
    ) async throws -> Results {
        let runner = BenchmarkRunner(
            subject: BenchmarkSubject(manifest: model.manifest), golden: try model.golden(),
            loader: try await CoreMLLoader(contentsOf: model.package), clock: SystemClock(), device: AppleDevice(),
            host: AppleDevice.host(), isPhone: AppleDevice.isPhone, tool: AppVersion.text, created: .now)
        return await runner.run(request, progress: progress)
    }
}

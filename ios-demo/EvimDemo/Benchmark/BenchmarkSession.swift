import EvimCore
import Observation
import UIKit

/// One benchmark at a time, and how far it is.
@MainActor
@Observable
final class BenchmarkSession {
    private(set) var isRunning = false
    private(set) var progress: BenchmarkProgress?

    private var measuring: Task<Results, any Error>?

    /// Measures, and keeps the screen awake meanwhile.
    ///
    /// - Returns: The results, of which those of a stopped benchmark hold what was measured until then.
    /// - Throws: What `ModelBenchmark.run` throws.
    func run(_ request: BenchmarkRequest, of model: BundledModel) async throws -> Results {
        isRunning = true
        UIApplication.shared.isIdleTimerDisabled = true
        defer {
            (isRunning, progress, measuring) = (false, nil, nil)
            UIApplication.shared.isIdleTimerDisabled = false
        }
        let (updates, continuation) = AsyncStream.makeStream(
            of: BenchmarkProgress.self, bufferingPolicy: .bufferingNewest(1))
        let measuring = Task.detached(priority: .userInitiated) {
            defer { continuation.finish() }
            return try await ModelBenchmark(model: model).run(request) { continuation.yield($0) }
        }
        self.measuring = measuring
        for await update in updates { progress = update }
        return try await measuring.value
    }

    /// Ends the benchmark after the prediction that it is at.
    func stop() {
        measuring?.cancel()
    }
}
